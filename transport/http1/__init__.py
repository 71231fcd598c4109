"""HTTP/1.1 (RFC 9112): the client's connections, and what large bodies are received into."""
