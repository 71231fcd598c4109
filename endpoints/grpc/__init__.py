"""The gRPC face of any `Inference`: the OIP service, health, reflection, and the port they listen on."""

import os

# gRPC's core writes its own lines for what we answer in one sentence (a port in use); it reads this at import
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
