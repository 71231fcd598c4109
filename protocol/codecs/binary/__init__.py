"""The codec of OIP's binary tensor data extension."""
