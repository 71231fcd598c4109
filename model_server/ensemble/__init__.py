"""Ensembles: models of one repository that run as a graph over named tensors, in one request (Triton's ensemble_scheduling)."""
