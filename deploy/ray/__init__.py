"""Both wires as Ray Serve's ingress: the engine as an autoscaling deployment (docs/deploy.md)."""
