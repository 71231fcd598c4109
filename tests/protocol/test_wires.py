"""The registry of wires is complete and honest."""

import importlib

import pytest

from crossover.protocol.datatype_names import DATATYPE_NAMES
from crossover.protocol.datatypes import DATATYPES
from crossover.protocol.errors import InferenceError
from crossover.protocol.wires import WIRES, wire


@pytest.mark.parametrize("row", WIRES.values(), ids=lambda row: row.name)
def test_every_factory_resolves(row):
    """Each line names a callable that exists."""
    module, _, factory = row.factory.partition(":")
    assert callable(getattr(importlib.import_module(module), factory))


@pytest.mark.parametrize("row", WIRES.values(), ids=lambda row: row.name)
def test_what_a_wire_cannot_carry_another_can(row):
    """A wire with a gap names one of the same kind that has none."""
    if row.carries != set(DATATYPES) or row.bytes_as_text:
        assert row.instead is not None
        assert WIRES[row.instead].kind == row.kind
        assert WIRES[row.instead].carries == set(DATATYPES)


def test_an_unknown_name_is_answered_with_the_names():
    """The error lists what there is."""
    with pytest.raises(
        InferenceError,
        match="grpc, grpc-typed, grpc-lean, grpc-stream, rest, rest-binary, rest-protobuf, grpc-coalesced, rest-coalesced, inprocess",
    ):
        wire("carrier-pigeon")


def test_the_datatypes_names_are_those_of_the_table():
    """The registry reads names alone, so that it does without numpy."""
    assert DATATYPE_NAMES == tuple(DATATYPES)
