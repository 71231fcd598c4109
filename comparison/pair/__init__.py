"""`python -m comparison pair`: a unary gRPC method against an HTTP endpoint, whoever wrote the two services."""
