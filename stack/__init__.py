"""Both services as processes: start, await, stop. `make run`, the tests and the lab use it."""
