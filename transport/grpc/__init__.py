"""gRPC over HTTP/2 (PROTOCOL-HTTP2) without grpcio."""
