"""The codec of protobuf, raw and typed contents."""
