"""The contract: the Open Inference Protocol. `from crossover.protos import inference as pb` gives its message classes."""
