"""The ML server: an engine over ONNX Runtime, the model repository, statistics, and the two services in front."""
