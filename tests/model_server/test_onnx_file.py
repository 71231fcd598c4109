"""Hostile ONNX files: every place that can name a file is found, however it is written, and nothing but the model's own is read."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import AttributeProto, TensorProto, helper

from crossover.model_server import onnx_file
from crossover.model_server.model_error import ModelError

OUTSIDE = "../../secret"


def external(location=OUTSIDE, name="w"):
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value=location)
    return tensor


def graph(*nodes, initializers=(), name="g"):
    value = helper.make_tensor_value_info
    made = helper.make_graph(
        list(nodes) or [helper.make_node("Identity", ["x"], ["y"])], name,
        [value("x", TensorProto.FLOAT, ["n"])], [value("y", TensorProto.FLOAT, ["n"])],
    )  # fmt: skip
    made.initializer.extend(initializers)
    return made


def model(main=None, **parts):
    made = helper.make_model(
        main or graph(), opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    )
    for function in parts.get("functions", ()):
        made.functions.append(function)
    for training in parts.get("training", ()):
        made.training_info.append(training)
    return made


def sparse():
    return onnx.SparseTensorProto(
        values=external(), indices=TensorProto(name="i", data_type=TensorProto.INT64, dims=[1]), dims=[4]
    )


def attribute(**fields):
    return AttributeProto(name="a", **fields)


def with_attribute(given):
    node = helper.make_node("Identity", ["x"], ["y"])
    node.attribute.append(given)
    return node


def function(*nodes, defaults=()):
    made = helper.make_function("own", "f", ["x"], ["y"], list(nodes), [helper.make_opsetid("", 17)])
    made.attribute_proto.extend(defaults)
    return made


def training(**fields):
    return onnx.TrainingInfoProto(**fields)


def sparse_graph():
    made = graph()
    made.sparse_initializer.append(sparse())
    return made


INNER = graph(initializers=[external()])
PLACES = {
    "an initializer": model(graph(initializers=[external()])),
    "a sparse initializer": model(sparse_graph()),
    "an attribute": model(graph(with_attribute(attribute(type=AttributeProto.TENSOR, t=external())))),
    "an attribute's list": model(graph(with_attribute(attribute(type=AttributeProto.TENSORS, tensors=[external()])))),
    "a sparse attribute": model(
        graph(with_attribute(attribute(type=AttributeProto.SPARSE_TENSOR, sparse_tensor=sparse())))
    ),
    "a subgraph": model(graph(with_attribute(attribute(type=AttributeProto.GRAPH, g=INNER)))),
    "a list of subgraphs": model(graph(with_attribute(attribute(type=AttributeProto.GRAPHS, graphs=[graph(), INNER])))),
    "a subgraph's subgraph": model(
        graph(with_attribute(attribute(g=graph(with_attribute(attribute(g=INNER))), type=AttributeProto.GRAPH)))
    ),
    "a function's node": model(
        functions=[function(with_attribute(attribute(type=AttributeProto.TENSOR, t=external())))]
    ),
    "a function's default": model(functions=[function(defaults=[attribute(type=AttributeProto.TENSOR, t=external())])]),
    "a function's subgraph": model(functions=[function(with_attribute(attribute(type=AttributeProto.GRAPH, g=INNER)))]),
    "a graph of training": model(training=[training(algorithm=INNER)]),
    "a graph that initializes": model(training=[training(initialization=INNER)]),
    "beside the type of the attribute": model(graph(with_attribute(attribute(type=AttributeProto.INT, t=external())))),
}


@pytest.fixture
def opened(tmp_path):
    def run(data):
        folder = tmp_path / "m" / "1"
        folder.mkdir(parents=True, exist_ok=True)
        (tmp_path / "secret").write_bytes(np.float32(7).tobytes())
        path = folder / "model.onnx"
        path.write_bytes(data)
        with onnx_file.snapshot(path) as (copy, facts):
            return sorted(found.name for found in copy.parent.glob("*.onnx")), facts

    return run


@pytest.mark.parametrize("place", PLACES)
def test_a_file_is_found_wherever_it_is_named(opened, place):
    """Functions, subgraphs and training graphs are walked as the main graph is."""
    with pytest.raises(ModelError, match="outside the model's folder"):
        opened(PLACES[place].SerializeToString())


@pytest.mark.parametrize(
    "location", ["/etc/hostname", "../x", "a/../../x", "", ".", "missing", "a\0b", "*/_ORT_MEM_ADDR_/*", "x" * 5000]
)
def test_locations_that_are_no_file_of_the_model(opened, location):
    """Each is refused in one sentence that names no path of the host."""
    with pytest.raises(ModelError) as caught:
        opened(model(graph(initializers=[external(location)])).SerializeToString())
    assert len(str(caught.value)) < 200
    assert "/m/1" not in str(caught.value)


def test_a_link_that_leads_outside_is_no_file_of_the_model(opened, tmp_path):
    """What is read is where the link leads, not where it stands."""
    opened(model().SerializeToString())
    (tmp_path / "m" / "1" / "weights").symlink_to(tmp_path / "secret")
    with pytest.raises(ModelError, match="outside"):
        opened(model(graph(initializers=[external("weights")])).SerializeToString())


def test_a_model_that_names_itself_is_the_copy_that_was_checked(opened):
    """Its own file is not read a second time: by then it could be another."""
    files, facts = opened(model(graph(initializers=[external("model.onnx")])).SerializeToString())
    assert (files, facts.external) == (["model.onnx"], {"model.onnx"})


def test_operators_that_name_files_are_refused(opened):
    """EPContext's attribute is a path that other execution providers open."""
    node = helper.make_node(
        "EPContext", ["x"], ["y"], domain="com.microsoft", ep_cache_context="../secret", embed_mode=0
    )
    with pytest.raises(ModelError, match="EPContext"):
        opened(model(graph(node)).SerializeToString())


def varint(number, size):
    """A number in `size` bytes, more than it needs."""
    groups = [number >> (7 * index) & 0x7F for index in range(size)]
    return bytes([*(group | 0x80 for group in groups[:-1]), groups[-1]])


def field(number, content, size=1, beyond=0):
    """A length-delimited field whose tag has `size` bytes, and `beyond` above its 32 bits."""
    tag = varint((number << 3 | 2) | beyond << 32, size)
    return tag + varint(len(content), 5) + content


def hostile(size, beyond=0, at="entry"):
    """A model whose external data is written with odd tags at one level."""
    odd = {"size": size, "beyond": beyond}
    entry = field(1, b"location", **(odd if at == "key" else {})) + field(2, OUTSIDE.encode())
    tensor = field(13, entry, **(odd if at == "entry" else {}))
    main = field(5, tensor, **(odd if at == "initializer" else {}))
    return field(7, main, **(odd if at == "graph" else {}))


@given(st.integers(1, 10), st.integers(0, 7), st.sampled_from(["key", "entry", "initializer", "graph"]))
def test_no_tag_hides_a_field(tmp_path_factory, size, beyond, at):
    """A tag is read as every parser reads it, or the file is refused: more than 5 bytes, or more than 32 bits."""
    size = max(size, 5 if beyond else 1)
    path = tmp_path_factory.mktemp("m") / "model.onnx"
    path.write_bytes(hostile(size, beyond, at))
    if size > 5 or beyond:
        with pytest.raises(ModelError, match="corrupt"):
            onnx_file.read(path)
    else:
        assert onnx_file.read(path).external == {OUTSIDE}


@given(st.binary(max_size=200))
def test_any_bytes_are_a_model_or_one_sentence(tmp_path_factory, data):
    """Nothing but ModelError comes of a file, whatever it holds."""
    path = tmp_path_factory.mktemp("m") / "model.onnx"
    path.write_bytes(data)
    try:
        onnx_file.read(path)
    except ModelError as error:
        assert str(error)
