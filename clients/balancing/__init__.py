"""One service in several replicas: their addresses, which of them takes a call, and which of them can.

Every wire's client goes to one address. `Balanced` stands above one such client for each replica, so that balancing, health
and failover are the same whatever the wire.
"""
