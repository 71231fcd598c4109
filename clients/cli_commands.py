"""What the commands of `python -m clients` do and print."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console
from rich.table import Table

from crossover.clients.cli_inputs import inputs_of
from crossover.clients.client import Answer, Client, ModelInfo
from crossover.protocol.errors import InferenceError
from crossover.protocol.wires import WIRES, Target

if TYPE_CHECKING:
    import argparse

    from crossover.protocol.tensors import Tensor

_PLAIN = Console(highlight=False, soft_wrap=True)
"""For lines that are read by programs too: never wrapped."""
_MOST_SHOWN = 64


async def infer(arguments: argparse.Namespace, target: Target) -> int:
    """Run a model: its outputs, time and message bytes; or with `--wire all` a row for each wire."""
    names = list(WIRES) if arguments.wire == "all" else [arguments.wire]
    model = await _metadata(names, arguments, target)
    inputs, label = inputs_of(model, arguments.input, arguments.sample)
    if label is not None:
        _PLAIN.print(f"true label of sample {arguments.sample}: {label}")
    if arguments.wire == "all":
        return await _compare(arguments, target, inputs)
    async with Client(arguments.wire, target, arguments.timeout) as client:
        await client.metadata(arguments.model, arguments.version)  # opens the connection, which is not to be timed
        _show(arguments.wire, await client.infer(arguments.model, inputs, version=arguments.version))
    return 0


async def models(arguments: argparse.Namespace, target: Target) -> int:
    """Every model version that the service knows."""
    async with Client(arguments.wire, target, arguments.timeout) as client:
        found = await client.models()
    table = Table("model", "version", "state", "reason")
    for model in found:
        table.add_row(model.name, model.version, model.state, model.reason)
    _console().print(table)
    return 0


async def health(arguments: argparse.Namespace, target: Target) -> int:
    """Exit code 0 when the service is ready, else 1."""
    address = target.rest if WIRES[arguments.wire].kind == "rest" else target.grpc
    where = f"{address} ({arguments.wire})"
    async with Client(arguments.wire, target, arguments.timeout) as client:
        if await client.ready():
            _PLAIN.print(f"ready: {where}", soft_wrap=True)
            return 0
        try:
            await client.models()
            reason = "it answers, and says that it is not ready"
        except InferenceError as error:
            reason = error.message
    _PLAIN.print(f"not ready: {where}: {reason}", soft_wrap=True)
    return 1


COMMANDS = {"infer": infer, "models": models, "health": health}


async def _metadata(names: list[str], arguments: argparse.Namespace, target: Target) -> ModelInfo:
    """What the model takes, from the first wire whose service can be reached."""
    for name in names:
        try:
            async with Client(name, target, arguments.timeout) as client:
                return await client.metadata(arguments.model, arguments.version)
        except InferenceError as error:
            if name == names[-1] or not error.code.status.retryable:
                raise
    raise AssertionError("there is at least one wire")


async def _compare(arguments: argparse.Namespace, target: Target, inputs: dict[str, Tensor]) -> int:
    table = Table("wire", "answer", f"median of {arguments.calls}", "request bytes", "reply bytes")
    failed = False
    for name in WIRES:
        try:
            answers = await _calls(name, arguments, target, inputs)
        except InferenceError as error:
            table.add_row(name, f"{error.code.name}: {error.message}", "", "", "")
            failed = True
        else:
            table.add_row(name, _short(answers[-1].tensors), _microseconds(answers), *_sizes(answers[-1]))
    _console().print(table)
    return 1 if failed else 0


async def _calls(name: str, arguments: argparse.Namespace, target: Target, inputs: dict[str, Tensor]) -> list[Answer]:
    """The answers of `calls` calls, one after the other, after one that opens the connection."""
    async with Client(name, target, arguments.timeout) as client:
        await client.infer(arguments.model, inputs, version=arguments.version)
        return [await client.infer(arguments.model, inputs, version=arguments.version) for _ in range(arguments.calls)]


def _show(wire: str, answer: Answer) -> None:
    for tensor in answer.tensors:
        shown = np.array2string(tensor.array, precision=4, suppress_small=True, threshold=_MOST_SHOWN)
        _PLAIN.print(f"{tensor.name} {tensor.datatype.name} {list(tensor.shape)}", shown, sep="\n", markup=False)
    _PLAIN.print(f"answer: {_short(answer.tensors)}", markup=False)
    sent, received = _sizes(answer)
    _PLAIN.print(
        f"{answer.model} version {answer.version} over {wire}: {_microseconds([answer])}; "
        f"request bytes: {sent}; reply bytes: {received}"
    )


def _microseconds(answers: list[Answer]) -> str:
    return f"{statistics.median(answer.seconds for answer in answers) * 1e6:,.0f} us"


def _sizes(answer: Answer) -> tuple[str, str]:
    """Bytes of the request message and of the reply message."""
    sent, received = (f"{size:,}" if size else "none" for size in (answer.bytes_sent, answer.bytes_received))
    return sent, received


def _short(outputs: list[Tensor]) -> str:
    """The most likely class of each row where the first output looks like probabilities, else its first elements."""
    if not outputs or not outputs[0].array.size:
        return "empty"
    array = outputs[0].array
    if array.ndim == 2 and array.shape[1] > 1 and array.dtype.kind == "f" and np.allclose(array.sum(1), 1, atol=1e-3):
        return ", ".join(f"{row.argmax()} ({row.max():.1%})" for row in array[:4])
    return np.array2string(array.ravel()[:4], precision=4) + (" ..." if array.size > 4 else "")


def _console() -> Console:
    """A console for tables; as wide as a terminal, or wide enough for any table where there is none."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=160)
