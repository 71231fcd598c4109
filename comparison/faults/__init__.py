"""The same schedule of faults for gRPC and REST arms: what is lost, what is wrong, how long until it is well again."""
