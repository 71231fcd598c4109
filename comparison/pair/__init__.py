"""`python -m comparison pair`: a gRPC method against an HTTP endpoint, whoever wrote the two services."""
