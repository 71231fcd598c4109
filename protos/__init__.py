"""The contract: the Open Inference Protocol. `from protos import inference as pb` gives its message classes."""
