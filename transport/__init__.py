"""Bytes and sockets: HTTP/1.1, HTTP/2, gRPC over it, deadlines on the event loop, TLS, addresses. No tensor is known here."""
