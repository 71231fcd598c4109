"""The load generators, and what they record of each request."""
