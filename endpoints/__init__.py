"""The answering side: each endpoint exposes any `Inference` over a wire."""
