"""A gRPC port without grpcio's core: the same handlers, served over our own HTTP/2 (MODEL_SERVER_GRPC_LIBRARY=lean)."""
