"""The codec of JSON."""
