"""Several replicas' replies as one: counters add up, and a model version is READY when it is everywhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from crossover.protos import inference as pb

if TYPE_CHECKING:
    from collections.abc import Sequence

    from google.protobuf.message import Message

_READY = "READY"
_KEYS = {"ModelStatistics": ("name", "version"), "InferBatchStatistics": ("batch_size",), "MemoryUsage": ("type", "id")}
"""What tells the elements of a repeated message apart; those alike are added."""
_LATEST = frozenset({"last_inference"})


def merged_index(request: Any, replies: Sequence[tuple[str, Any]]) -> Any:
    """Replies of RepositoryIndex by the replica's address."""
    lines: dict[tuple[str, str], dict[str, Any]] = {}
    for address, reply in replies:
        for model in reply.models:
            lines.setdefault((model.name, model.version), {})[address] = model
    merged = pb.RepositoryIndexResponse()
    for (name, version), found in lines.items():
        state = _state(found, [address for address, _ in replies])
        if state["state"] == _READY or not request.ready:
            merged.models.add(name=name, version=version, **state)
    return merged


def _state(found: dict[str, Any], addresses: Sequence[str]) -> dict[str, str]:
    """The state that holds for all; where they differ, the first that is not READY, and where."""
    states = {(model.state, model.reason) for model in found.values()}
    if len(states) == 1 and len(found) == len(addresses):
        state, reason = states.pop()
        return {"state": state, "reason": reason}
    for address in addresses:
        model = found.get(address)
        if model is None:
            return {"state": "UNAVAILABLE", "reason": f"{address} does not have it"}
        if model.state != _READY:
            return {"state": model.state, "reason": f"{address}: {model.reason or model.state.lower()}"}
    return {"state": _READY, "reason": ""}


def merged_statistics(_: Any, replies: Sequence[tuple[str, Any]]) -> Any:
    """Replies of ModelStatistics, added up."""
    merged = pb.ModelStatisticsResponse()
    for _, reply in replies:
        _add(merged, reply)
    return merged


def _add(total: Any, more: Message) -> None:
    """Numbers are added, messages likewise; text is what the first one says."""
    for field, value in more.ListFields():
        name = field.name
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            for key in value:
                _add(getattr(total, name)[key], value[key])
        elif field.message_type is not None and field.is_repeated:
            for element in value:
                _add(_like(getattr(total, name), element), element)
        elif field.message_type is not None:
            _add(getattr(total, name), value)
        elif isinstance(value, int) and name in _LATEST:
            setattr(total, name, max(getattr(total, name), value))
        elif isinstance(value, int) and name not in _KEYS.get(more.DESCRIPTOR.name, ()):
            setattr(total, name, getattr(total, name) + value)
        elif not getattr(total, name):
            setattr(total, name, value)


def _like(elements: Any, element: Any) -> Any:
    """The one with the same keys; a new one where there is none."""
    keys = _KEYS.get(element.DESCRIPTOR.name, ())
    for each in elements:
        if all(getattr(each, key) == getattr(element, key) for key in keys):
            return each
    return elements.add()
