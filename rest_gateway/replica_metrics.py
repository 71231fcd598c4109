"""What the balancers of the gateway's upstreams do, for Prometheus."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crossover.service import families

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from prometheus_client.core import Metric

    from crossover.clients.balancing.balanced import Balanced

_OF_REPLICA = ("upstream", "replica")


class ReplicaMetrics:
    """Reads the balancers' own counters when somebody scrapes."""

    def __init__(self, balanced: Mapping[str, Balanced]) -> None:
        self._balanced = balanced

    def collect(self) -> Iterator[Metric]:
        ready = families.gauge(
            "crossover_upstream_replica_ready", "1: the replica takes calls; 0: it is left out.", labels=_OF_REPLICA
        )
        ejected = families.gauge(
            "crossover_upstream_replica_ejected", "1: left out because its calls failed.", labels=_OF_REPLICA
        )
        under_way = families.gauge(
            "crossover_upstream_replica_in_flight", "Calls under way on the replica.", labels=_OF_REPLICA
        )
        calls = families.counter("crossover_upstream_replica_calls", "Calls to the replica.", labels=_OF_REPLICA)
        failures = families.counter(
            "crossover_upstream_replica_failures", "Calls that the replica failed or lost.", labels=_OF_REPLICA
        )
        ejections = families.counter(
            "crossover_upstream_replica_ejections", "Times that the replica was ejected.", labels=_OF_REPLICA
        )
        resent = families.counter(
            "crossover_upstream_resent", "Calls that went to another replica.", labels=("upstream",)
        )
        refused = families.counter(
            "crossover_upstream_resends_refused",
            "Calls that did not: the retry budget was spent.",
            labels=("upstream",),
        )
        for upstream, client in list(self._balanced.items()):
            resent.add_metric((upstream,), client.budget.spent)
            refused.add_metric((upstream,), client.budget.refused)
            for replica in list(client.replicas):
                labels = (upstream, replica.endpoint.name)
                ready.add_metric(labels, replica.usable)
                ejected.add_metric(labels, replica.is_ejected)
                under_way.add_metric(labels, replica.in_flight)
                calls.add_metric(labels, replica.calls)
                failures.add_metric(labels, replica.failures)
                ejections.add_metric(labels, replica.ejections)
        yield from (ready, ejected, under_way, calls, failures, ejections, resent, refused)
