"""`python -m clients infer|models|health`: one call, from the shell, over any wire."""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from clients.cli_inputs import inputs_of
from protocol import deadline, wires
from protocol.errors import InferenceError
from protocol.inference import CallContext, Inference
from protocol.messages import InferRequest, InferResponse
from protocol.tensors import Tensor
from protocol.wires import WIRES, Target

REPEATS = 200
console = Console()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m clients", description=__doc__)
    parser.add_argument("--grpc", default="127.0.0.1:8001", metavar="TARGET", help="gRPC service, host:port")
    parser.add_argument("--rest", default="http://127.0.0.1:8000", metavar="URL", help="REST service")
    parser.add_argument("--ca", type=Path, metavar="FILE", help="PEM authorities of the service's certificate (TLS)")
    parser.add_argument("--timeout", type=float, default=10.0, metavar="SECONDS", help="time for each call (10)")
    commands = parser.add_subparsers(dest="command", required=True)
    infer = commands.add_parser("infer", help="run a model")
    infer.add_argument("model")
    infer.add_argument("--wire", default="grpc", help=f"{', '.join(WIRES)}, or all: a row a wire")
    infer.add_argument(
        "--input", action="append", default=[], metavar="[NAME=]VALUE", help="JSON, @file.json or @file.npy"
    )
    infer.add_argument("--sample", type=int, default=0, metavar="N", help="without --input: the model's sample N (0)")
    infer.add_argument("--version", default="", help="a model version; default: the highest that is ready")
    for name, text in (("models", "list models and their states"), ("health", "is the service ready?")):
        commands.add_parser(name, help=text).add_argument("--wire", default="grpc", help=", ".join(WIRES))
    return parser


async def _infer(arguments: argparse.Namespace, target: Target) -> int:
    names = list(WIRES) if arguments.wire == "all" else [arguments.wire]
    first = wires.connect(names[0], target)
    try:
        metadata = await first.model_metadata(arguments.model, arguments.version, _context(arguments))
    finally:
        await first.close()
    inputs, label = inputs_of(metadata, arguments.input, arguments.sample)
    if label:
        console.print(f"true label of sample {arguments.sample}: {label}")
    request = InferRequest(arguments.model, inputs, arguments.version)
    if arguments.wire != "all":
        await _show_one(arguments, target, request)
        return 0
    table = Table("wire", "answer", f"median of {REPEATS}", "request bytes", "reply bytes")
    for name in names:
        table.add_row(name, *await _row(name, arguments, target, request))
    console.print(table)
    return 0


def _context(arguments: argparse.Namespace) -> CallContext:
    return CallContext(deadline.after(arguments.timeout))


async def _show_one(arguments: argparse.Namespace, target: Target, request: InferRequest) -> None:
    client, context = wires.connect(arguments.wire, target), _context(arguments)
    try:
        began = time.perf_counter()
        response = await client.infer(request, context)
        spent = time.perf_counter() - began
    finally:
        await client.close()
    for tensor in response.outputs:
        console.print(f"{tensor.name}: {tensor.datatype.name} {list(tensor.shape)}")
        console.print(np.array2string(tensor.array, precision=4, suppress_small=True, threshold=64), highlight=False)
    sent = (
        f"{context.bytes_sent} bytes sent, {context.bytes_received} bytes received"
        if context.bytes_sent
        else "no message"
    )
    console.print(f"{arguments.wire}: {spent * 1000:.2f} ms with opening the connection; {sent}", highlight=False)


async def _row(name: str, arguments: argparse.Namespace, target: Target, request: InferRequest) -> list[str]:
    client = wires.connect(name, target)
    try:
        response, spent, context = await _timed(client, arguments, request)
    except InferenceError as error:
        return [f"{error.code.name}: {error.message}", "-", "-", "-"]
    finally:
        await client.close()
    sizes = [f"{size:,}" if size else "none" for size in (context.bytes_sent, context.bytes_received)]
    return [_short(response.outputs), f"{statistics.median(spent) * 1e6:,.0f} us", *sizes]


async def _timed(
    client: Inference, arguments: argparse.Namespace, request: InferRequest
) -> tuple[InferResponse, list[float], CallContext]:
    spent: list[float] = []
    for _ in range(REPEATS):
        context, began = _context(arguments), time.perf_counter()
        response = await client.infer(request, context)
        spent.append(time.perf_counter() - began)
    return response, spent, context


def _short(outputs: Sequence[Tensor]) -> str:
    """The most likely class where the output looks like probabilities, else the first elements."""
    array = outputs[0].array
    if (
        array.ndim == 2
        and array.shape[1] > 1
        and array.dtype.kind == "f"
        and np.allclose(array.sum(axis=1), 1, atol=1e-3)
    ):
        return ", ".join(f"{row.argmax()} ({row.max():.1%})" for row in array[:4])
    return np.array2string(array.ravel()[:4], precision=4) + (" ..." if array.size > 4 else "")


async def _models(arguments: argparse.Namespace, target: Target) -> int:
    client = wires.connect(arguments.wire, target)
    try:
        index = await client.repository_index(False, _context(arguments))
    finally:
        await client.close()
    table = Table("model", "version", "state", "reason")
    for model in index.models:
        table.add_row(model.name, model.version, model.state, model.reason)
    console.print(table)
    return 0


async def _health(arguments: argparse.Namespace, target: Target) -> int:
    client = wires.connect(arguments.wire, target)
    try:
        ready = await client.server_ready(_context(arguments))
    finally:
        await client.close()
    console.print("ready" if ready else "not ready")
    return 0 if ready else 1


def main() -> int:
    arguments = _parser().parse_args()
    target = Target(grpc=arguments.grpc, rest=arguments.rest, tls_ca=arguments.ca)
    command = {"infer": _infer, "models": _models, "health": _health}[arguments.command]
    try:
        return asyncio.run(command(arguments, target))
    except InferenceError as error:
        print(f"{error.code.name}: {error.message}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
