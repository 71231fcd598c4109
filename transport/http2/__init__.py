"""HTTP/2 (RFC 9113): frames, header blocks, and a connection."""
