"""The hop over an emulated network: two hosts as network namespaces and a wire of packets between them."""
