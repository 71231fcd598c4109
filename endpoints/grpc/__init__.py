"""The gRPC face of any `Inference`: the OIP service, health, reflection, and the port they listen on."""
