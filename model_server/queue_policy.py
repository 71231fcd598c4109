"""Triton's queue policies of `dynamic_batching` in config.pbtxt: how many may wait, how long, and in which order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from crossover.model_server.model_error import ModelError
from crossover.protocol.deadline import NEVER
from crossover.protocol.errors import invalid
from crossover.protocol.joining import rows_allowed
from crossover.protocol.messages import ParameterValue
from crossover.protocol.names import shown
from crossover.protos import inference as pb

PRIORITY, TIMEOUT = "priority", "timeout"
"""Request parameters: a level, 1 for the highest and 0 for the default; microseconds."""


@dataclass(frozen=True, slots=True)
class LevelPolicy:
    """ModelQueuePolicy, of one priority level."""

    most: int = 0
    """Requests that may wait; 0: any number."""
    timeout: float = NEVER
    """Seconds that a request may wait."""
    delays: bool = False
    """What has waited longer goes behind all others of its level; else it is refused."""
    override: bool = False
    """A request's own `timeout` may shorten that."""

    def waits(self, parameters: Mapping[str, ParameterValue]) -> float:
        """Seconds that this request may wait."""
        microseconds = parameters.get(TIMEOUT) if self.override else None
        if type(microseconds) is not int or microseconds <= 0:
            return self.timeout
        return min(self.timeout, microseconds / 1e6) if self.timeout != NEVER else NEVER


@dataclass(frozen=True, slots=True)
class QueuePolicy:
    """How one model's requests wait."""

    joined_rows: int = 0
    """Rows that may run together; 0: each request alone."""
    enough_rows: int = 0
    """Rows with which a run does not wait for more: the smallest `preferred_batch_size`."""
    delay: float = 0.0
    """Seconds that a request waits for others to join."""
    levels: int = 0
    default_level: int = 0
    default: LevelPolicy = LevelPolicy()
    by_level: Mapping[int, LevelPolicy] = field(default_factory=dict)

    @classmethod
    def of(cls, config: pb.ModelConfig, *, join: bool = True) -> QueuePolicy:
        """What config.pbtxt says; ModelError when it contradicts itself. `join`: whether requests may run together."""
        if not config.HasField("dynamic_batching"):
            return cls()
        batching = config.dynamic_batching
        levels, default = batching.priority_levels, batching.default_priority_level
        if levels and not 1 <= default <= levels:
            raise ModelError(f"default_priority_level is {default}; with priority_levels it takes 1 to {levels}")
        for level in batching.priority_queue_policy:
            if not 1 <= level <= levels:
                raise ModelError(f"priority_queue_policy has the level {level}; priority_levels is {levels}")
        preferred = batching.preferred_batch_size
        if preferred and not 1 <= min(preferred) <= max(preferred) <= max(1, config.max_batch_size):
            raise ModelError(
                f"preferred_batch_size is {list(preferred)}; it takes sizes from 1 to max_batch_size, {config.max_batch_size}"
            )
        rows = rows_allowed(config) if join else 0
        return cls(
            rows,
            min(preferred, default=rows),
            batching.max_queue_delay_microseconds / 1e6,
            levels,
            default,
            _level_policy(batching.default_queue_policy),
            {level: _level_policy(policy) for level, policy in batching.priority_queue_policy.items()},
        )

    def level(self, parameters: Mapping[str, ParameterValue]) -> int:
        """A request's level: what it asks for where there is such a level, else the default one, as Triton has it."""
        priority = priority_of(parameters)
        return priority if 1 <= priority <= self.levels else self.default_level

    def of_level(self, level: int) -> LevelPolicy:
        return self.by_level.get(level, self.default)


def priority_of(parameters: Mapping[str, ParameterValue]) -> int:
    """The level that a request asks for, 0 where it asks for none; INVALID_ARGUMENT for what is no level."""
    priority = parameters.get(PRIORITY, 0)
    if type(priority) is not int or priority < 0:
        raise invalid(f"parameter '{PRIORITY}' is {shown(priority)}; it takes an integer, 0 or more")
    return priority


def _level_policy(policy: pb.ModelQueuePolicy) -> LevelPolicy:
    return LevelPolicy(
        policy.max_queue_size,
        policy.default_timeout_microseconds / 1e6 or NEVER,
        policy.timeout_action == pb.ModelQueuePolicy.DELAY,
        policy.allow_timeout_override,
    )
