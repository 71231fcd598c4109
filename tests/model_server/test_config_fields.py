"""Every field of Triton's ModelConfig is known, and honoured, named or refused by one table."""

from __future__ import annotations

import pytest
from google.protobuf import text_format
from hypothesis import given
from hypothesis import strategies as st

from crossover.model_server import config, config_fields, config_text, ports
from crossover.model_server.config_fields import FIELDS, PARAMETERS, paths, treatment
from crossover.model_server.model_error import ModelError
from crossover.model_server.onnx_session import Port
from crossover.model_server.runtime_options import RuntimeOptions
from crossover.protocol.datatypes import BY_ONNX
from crossover.protos import inference as pb

ALL = list(paths())


def message_setting(path):
    """A configuration in which nothing but the field at `path` is set."""
    message = top = pb.ModelConfig()
    *around, last = path.split(".")
    for name in around:
        field = message.DESCRIPTOR.fields_by_name[name]
        inner = getattr(message, name)
        message = inner.add() if field.is_repeated else inner
    field = message.DESCRIPTOR.fields_by_name[last]
    value = {field.CPPTYPE_STRING: "x", field.CPPTYPE_BOOL: True}.get(field.cpp_type, 1)
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        entry = field.message_type.fields_by_name["value"]
        key = "x" if field.message_type.fields_by_name["key"].cpp_type == field.CPPTYPE_STRING else 1
        if entry.message_type is not None:
            getattr(message, last)[key].SetInParent()
        else:
            getattr(message, last)[key] = "x"
    elif field.message_type is not None:
        inner = getattr(message, last)
        inner.add() if field.is_repeated else inner.SetInParent()
    elif field.is_repeated:
        getattr(message, last).append(value)
    else:
        setattr(message, last, value)
    return top


@pytest.mark.parametrize("path", ALL)
def test_each_field_is_honoured_named_or_refused(path):
    """Set alone, a field is found by its path; it is refused with a sentence, named with what it would do, or neither."""
    row = treatment(path)
    message = message_setting(path)
    refused, named = config_fields.refused(message), config_fields.named(message)
    if row.treatment == "refused":
        assert row.meaning in refused
    elif row.treatment == "named":
        assert refused is None and any(row.meaning in each for each in named)
    else:
        assert refused is None
        assert all("parameters" in each or "instance_group.kind" in each for each in named)


def messages(descriptor=pb.ModelConfig.DESCRIPTOR, before=""):
    """The paths of the fields that are messages, at every level."""
    for field in descriptor.fields:
        if field.message_type is not None and not field.message_type.GetOptions().map_entry:
            yield before + field.name
            yield from messages(field.message_type, f"{before}{field.name}.")


@pytest.mark.parametrize("path", list(messages()))
def test_an_empty_message_is_no_error(path):
    """`optimization { }` and the like: read, and refused only where the table refuses the message itself."""
    text = f"{path.replace('.', ' { ')} {{ }}" + " }" * path.count(".")
    message = text_format.Parse(text, pb.ModelConfig())
    config_fields.named(message)
    row = FIELDS.get(config_fields._row_path(path))
    assert (config_fields.refused(message) is None) == (row is None or row.treatment != "refused")


def test_the_table_has_no_row_for_nothing():
    """Each row decides about a field that there is."""
    assert all(any(path == row or path.startswith(f"{row}.") for path in ALL) for row in FIELDS)


def test_the_documentation_shows_the_table(root):
    """docs/protocol.md has a row for every field and every parameter, as the table says it."""
    assert config_fields.markdown() in (root / "docs" / "protocol.md").read_text()


@pytest.mark.parametrize(
    "text",
    [
        "sequence_batching { }",
        "sequence_batching { direct { } }",
    ],
)
def test_what_cannot_be_served_names_the_field(text):
    """The sentence names the field and what it would take."""
    with pytest.raises(ModelError, match=rf"config.pbtxt sets {text.split()[0]}, which "):
        config.from_text(text, "m")


UNKNOWN = [
    "new_field: 1",
    "new_field: -1.5e3",
    "new_field { a: 1 }",
    "new_field < a: 1 >",
    "new_field: { a { b: '}' } }",
    "new_field [ { a: 1 }, { b: [ 1, 2 ] } ]",
    "new_field: [ 1, 2, 3 ]",
    "new_field: 'a' \"b\" # comment }\n",
    "new_field: SOME_ENUM;",
    "new_field: -1.5e-3f",
    "new_field: 1e+5",
    "new_field: - inf",
]


@pytest.mark.parametrize("unknown", UNKNOWN)
@pytest.mark.parametrize("around", ["%s\n", "input [ { name: 'x' %s } ]\n", "optimization { graph { %s level: 1 } }\n"])
def test_a_field_that_nobody_knows_is_named_and_nothing_else_changes(unknown, around):
    """Whatever form its value has and wherever it stands, an unknown field is passed over and named by its path."""
    text = 'name: "m"\n' + around % unknown + "max_batch_size: 4\n"
    read, named = config.read_text(text, "m")
    plain = config.from_text('name: "m"\n' + around % "" + "max_batch_size: 4\n", "m")
    assert read == plain
    assert [each for each in named if "new_field (an unknown field)" in each]


@pytest.mark.parametrize("dims", ["[ - 1, 3 ]", "- 1 dims: 3", "-\t1, dims: 3"])
def test_a_sign_may_stand_apart(dims):
    """As in the C++ parser that Triton uses."""
    assert list(config.from_text(f"input {{ name: 'x' dims: {dims} }}", "m").input[0].dims) == [-1, 3]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (r'name: "\x6d"', "m"),
        (r'name: "\X6D"', "m"),
        (r'name: "\155"', "m"),
        (r'name: "\u006d"', "m"),
        (r'name: "\U0000006d"', "m"),
        (r"""name: 'a\?\'\"\t' "b" """, "a?'\"\tb"),
        (r'name: "\ud83d\ude00"', "\U0001f600"),
        (r'name: "\xed" "\x95\x9c"', "\ud55c"),
        ('name: "m" # \udcff\udcb0 "', "m"),
        ("name: 'm' max_batch_size: -\n # c\n 0", "m"),
    ],
)
def test_texts_mean_what_they_mean_to_triton(text, name):
    """Escapes, adjacent texts, signs and comments are read as by the C++ parser (compared with `protoc --encode`)."""
    read = pb.ModelConfig()
    assert config_text.parse(text, read) == []
    assert read == pb.ModelConfig(name=name)


@pytest.mark.parametrize(
    "text", [r'name: "\q"', r'name: "\xff"', r'name: "\ud83d"', r'name: "\U00110000"', 'name: "\udcff"']
)
def test_a_text_that_cannot_be_is_one_sentence(text):
    """A wrong escape, and what is no UTF-8, are said with their place, inside unknown fields too."""
    for around in ("%s", "new_field { %s }"):
        with pytest.raises(ModelError, match=r"1:\d+ : (.* is no escape of the text format|the text is not UTF-8)"):
            config.from_text(around % text, "m")


@pytest.mark.parametrize(
    ("field", "value"),
    [("optional: 0x1", True), ("optional: 01", True), ("optional: 00", False), ("optional: t", True),
     ("data_type: 013", 11), ("data_type: 0xB", 11), ("dims: 0x10", [16]), ("dims: [ 010, -0X1 ]", [8, -1])],
)  # fmt: skip
def test_numbers_of_every_base(field, value):
    """Booleans, enums and integers in octal and hexadecimal, as the C++ parser takes them."""
    read = getattr(config.from_text(f"input {{ name: 'x' {field} }}", "m").input[0], field.partition(":")[0])
    assert (list(read) if isinstance(value, list) else read) == value


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("input [ { name: 'x' }, { name: 'x' } ]", "names the input 'x' twice"),
        ("output [ { name: 'y' }, { name: 'y' } ]", "names the output 'y' twice"),
        ("input { data_type: TYPE_FP32 }", "has an input without a name"),
        ("input { name: 'x' dims: [ -2, 1 ] }", r"gives input 'x' the dims \[-2, 1\]"),
        ("output { name: 'y' dims: 4 reshape { shape: -4 } }", r"gives output 'y' the reshape \[-4\]"),
    ],
)
def test_ports_that_cannot_be(text, said):
    """Each input and output has a name of its own, and dimensions that there can be."""
    with pytest.raises(ModelError, match=said):
        config.from_text(text, "m")


@given(st.text(alphabet="ab:{}[]<>\"'#,;- \n1.", max_size=60))
def test_text_that_is_no_configuration_is_one_error(text):
    """Any text is a configuration or a ParseError, as protobuf's own parser has it."""
    try:
        config_text.parse(text, pb.ModelConfig())
    except text_format.ParseError:
        return


def test_an_error_keeps_its_line():
    """What is passed over leaves the lines of what is wrong as they were."""
    with pytest.raises(ModelError, match="4:"):
        config.from_text("new_field [\n {\n } ]\nmax_batch_size: 'many'", "m")


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("intra_op_thread_count", "3", {"intra_op_threads": 3}),
        ("inter_op_thread_count", "0", {"inter_op_threads": 0}),
        ("execution_mode", "1", {"parallel": True}),
        ("enable_mem_arena", "0", {"arena": "off"}),
        ("enable_mem_arena", "1", {"arena": "keep"}),
        ("enable_mem_pattern", "0", {"memory_pattern": False}),
        ("memory.enable_memory_arena_shrinkage", "cpu:0;gpu:0", {"arena": "shrink"}),
        ("session.use_device_allocator_for_initializers", "1",
         {"session_entries": (("session.use_device_allocator_for_initializers", "1"),)}),
        ("session.disable_prepacking", "true", {"session_entries": (("session.disable_prepacking", "1"),)}),
    ],
)  # fmt: skip
def test_parameters_of_the_onnxruntime_backend(key, value, expected):
    """Each becomes ONNX Runtime's own setting, and none of them is named as ignored."""
    message = pb.ModelConfig()
    message.parameters[key].string_value = value
    options = RuntimeOptions().of(message)
    assert {name: getattr(options, name) for name in expected} == expected
    assert config_fields.named(message) == []


@pytest.mark.parametrize("key", [key for key in PARAMETERS if not key.startswith("MODEL_")])
@pytest.mark.parametrize("value", ["", "many", "-1", "2.5"])
def test_a_parameter_that_does_not_fit_is_one_sentence(key, value):
    """It names the parameter, its value and what it takes."""
    message = pb.ModelConfig()
    message.parameters[key].string_value = value
    with pytest.raises(ModelError, match=f"parameters '{key}' to '{value}'; it takes "):
        RuntimeOptions().of(message)


@pytest.mark.parametrize(("level", "expected"), [(-1, "basic"), (0, "all"), (1, "extended"), (2, "disable")])
def test_graph_level(level, expected):
    """`optimization.graph.level` has the backend's meaning."""
    message = pb.ModelConfig()
    message.optimization.graph.level = level
    assert RuntimeOptions().of(message).graph_optimization == expected


@pytest.mark.parametrize(
    "text", ["[]", "null", "1", '"x"', "{", '{"max_batch_size": "many"}', '{"max_batch_size": {}}', "[" * 5000]
)
def test_a_configuration_in_json_is_an_object(text):
    """What is not, or does not fit, is one sentence."""
    with pytest.raises(ModelError, match="that came with load"):
        config.from_json(text, "m")


def test_json_names_what_it_does_not_know():
    """As in text: an unknown field is passed over and named by its path, and what is known but not honoured as well."""
    text = (
        '{"max_batch_size": 4, "new": {"a": 1}, "input": [{"name": "x", "newer": [1]}], "instanceGroup": [{"gpus": [0]}],'
        ' "parameters": {"k": {"string_value": "v", "newest": 0}}, "dynamic_batching": {"priority_queue_policy": {"1": {"b": 0}}}}'
    )
    read, named = config.from_json(text, "m")
    assert read.max_batch_size == 4 and read.input[0].name == "x" and read.parameters["k"].string_value == "v"
    assert [each for each in named if "unknown" in each] == [
        f"{path} (an unknown field)"
        for path in ("new", "input.newer", "parameters.newest", "dynamic_batching.priority_queue_policy.b")
    ]
    assert any(each.startswith("instance_group.gpus") for each in named)


@pytest.mark.parametrize("text", ['{"input": [{"data_type": "TYPE_FP8"}]}', '{"name": "m", "name": "m"}'])
def test_json_with_values_that_do_not_fit(text):
    """A value that the field has not, or a field given twice, is refused and not passed over."""
    with pytest.raises(ModelError, match="that came with load"):
        config.from_json(text, "m")


def test_instances_are_runs_at_the_same_time():
    """The counts of all groups together; a group without a count is one."""
    read, named = config.read_text(
        "instance_group [ { count: 2 kind: KIND_CPU }, { kind: KIND_GPU gpus: [ 0 ] } ]", "m"
    )
    assert config.most_instances(read) == 3
    assert any(each.startswith("instance_group.gpus") for each in named)
    assert any(each.startswith("instance_group.kind") for each in named)


def test_the_graph_says_what_may_be_left_out():
    """`optional: true` on an input that the graph needs is put right, and told to who loads the model."""
    described = config.from_text("input [ { name: 'a' optional: true }, { name: 'b' optional: true } ]", "m")
    row = next(iter(BY_ONNX.values()))
    agreed = ports.agree(described, [Port("a", row, (1,)), Port("b", row, (1,), optional=True)], [])
    assert agreed.required == ["a"]
    assert [(entry.name, entry.optional) for entry in described.input] == [("a", False), ("b", True)]
