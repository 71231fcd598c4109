"""Admission of requests: API keys, rate limits, hosts, origins, and the security header fields of replies.

Policies alone, without sockets; `Door` applies them to one request's head or one call's metadata.
"""

from crossover.service.doors.door import Door, Head, Pass, Refusal

__all__ = ["Door", "Head", "Pass", "Refusal"]
