"""How messages become bytes: JSON, binary tensors (OIP's extension) and protobuf."""
