"""The answering side: each endpoint exposes any `Inference` over a wire."""

import os

# gRPC's newer event loop hands every event to a pool of threads; in a service with one loop of its own that costs a fifth
# of a call's CPU (docs/performance.md). gRPC reads this when it is imported, so it stands in front of everything.
os.environ.setdefault("GRPC_EXPERIMENTS", "-event_engine_client,-event_engine_listener")
