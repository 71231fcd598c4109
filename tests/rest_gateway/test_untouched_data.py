"""Long bodies under /api, whose elements stay text until a tensor reads them, mean what short ones mean."""

from __future__ import annotations

import orjson
import pytest

from crossover.protocol.codecs.json import unread
from crossover.protocol.native import jsontensors
from crossover.rest_gateway.api import bodies
from crossover.rest_gateway.api.problems import Problem
from crossover.rest_gateway.predictions import keys
from crossover.rest_gateway.predictions.creating import _orders
from crossover.rest_gateway.predictions.running import task_request

LONG = ",".join(["0.5"] * 8)


def tensor(data: str, kind: str = "FP32", shape: str = "[8]", more: str = "") -> str:
    return f'{{"name":"x","datatype":"{kind}","shape":{shape},"data":{data}{more}}}'


def body(*tensors: str, more: str = "") -> str:
    return f'{{"model":"m","inputs":[{",".join(tensors)}]{more}}}'


BODIES = {
    "numbers": body(tensor(f"[{LONG}]")),
    "white space": body(tensor(f"[ {LONG.replace(',', ' , ')}\n]")),
    "nested": body(tensor(f"[[{LONG}],[{LONG}]]", shape="[2,8]")),
    "ragged": body(tensor(f"[[{LONG}],[0.5,0.25,0.125]]", shape="[2,8]")),
    "two": body(tensor(f"[{LONG}]"), tensor("[1,2,3,4,5,6,7,8]", "INT32")),
    "strings": body(tensor('["abcdefgh","ijkl\\u00e9\\n"]', "BYTES", "[2]")),
    "no numbers": body(tensor('["NaN","Infinity","-Infinity","NaN"]', shape="[4]")),
    "some are no numbers": body(tensor('[0.5,1,2,3,"NaN","Infinity",2,3]')),
    "null": body(tensor("[null,1,2,3,4,5,6,7.25]")),
    "literals": body(tensor("[NaN,Infinity,2,3,4,5,6,7]")),
    "wrong string": body(tensor('["NaN","no number here"]', shape="[2]")),
    "count": body(tensor(f"[{LONG},0.5]")),
    "range": body(tensor("[1,2,3,4,5,6,7,300]", "UINT8")),
    "fraction": body(tensor("[1,2,3,4,5,6,7,8.5]", "INT32")),
    "too large": body(tensor("[1,2,3,4,5,6,7,1e39]")),
    "booleans": body(tensor("[true,false,true,true]", "BOOL", "[4]")),
    "FP16": body(tensor(f"[{LONG}]", "FP16")),
    "objects": body(tensor('[0,{"a":1},{"b":[1,2,3]}]', shape="[3]")),
    "placeholders": body(tensor("[[0]]", "INT32", "[1,1]"), tensor(f"[{LONG}]")),
    "twice": body(tensor(f"[{LONG}]", more=',"data":[1,2,3,4,5,6,7,8.5]')),
    "elsewhere": body(tensor(f"[{LONG}]"), more=f',"outputs":[{{"data":[{LONG}]}}]'),
    "in parameters": body(tensor(f"[{LONG}]"), more=f',"parameters":{{"data":[{LONG}]}}'),
    "escaped words": body(tensor('["\\u004eaN","-Inf\\u0069nity",1,"NaN"]', shape="[4]")),
    "nearly a word": body(tensor('["NaN ","Infinit",1,"NaN\\u0000"]', shape="[4]")),
    "nests deeply": body(tensor("[" * 500 + "0.5" + "]" * 500)),
    "nests too deeply": body(tensor("[" * 1025 + "0.5" + "]" * 1025)),
    "bytes that are none": body(tensor('["abcdefghijklm",{"a":1}]', "BYTES", "[2]")),
    "inputs of numbers": f'{{"model":"m","inputs":[{LONG},{LONG}]}}',
    "many inputs": body(*["{}"] * 1025),
    "a shape of many": body(tensor(f"[{LONG}]", shape="[1" + ",1" * 1024 + "]")),
    "a label of many": body(tensor(f"[{LONG}]"), more=f',"label":[{LONG}]'),
    "a long note": body(tensor(f"[{LONG}]"), more=',"note":"' + "n" * 900 + '"'),
    "broken elsewhere": body(tensor(f"[{LONG}]"), more=f',"outputs":[{{"data":[{LONG},01]}}]'),
    "broken number": body(tensor("[1,2,3,4,5,6,7,08.5]")),
    "broken string": body(tensor('["abcdefgh","\\x"]', "BYTES", "[2]")),
    "broken behind": body(tensor(f"[{LONG}]")) + "}",
    "no object": f'[{{"data":[{LONG}]}}]',
    "several": f'{{"requests":[{body(tensor(f"[{LONG}]"))},{body(tensor("[1,2,3,4,5,6,7,8]", "INT64"))}]}}',
}


def meant(text: str):
    """What a body means, as a caller sees it: orders and what is stored of them, or the problem."""
    try:
        document = bodies.parse_object(text.encode())
        orders = _orders(document)
    except Problem as problem:
        return problem.status, problem.detail, problem.members
    stored = [orjson.loads(order.inputs) for order in orders]
    again = [task_request(order.task("grpc")).inputs for order in orders]
    values = [
        (each.name, each.datatype.name, each.shape, repr(each.array.tolist())) for tensors in again for each in tensors
    ]
    return stored, values, keys.fingerprint(orders, single=True)


@pytest.mark.parametrize("name", BODIES)
def test_untouched_elements_mean_the_same(name, monkeypatch):
    """The same orders, the same stored text, the same digest, or the same problem, either way."""
    assert jsontensors is not None
    plain = meant(BODIES[name])
    for piece in (1, 64, unread.PIECE_BYTES):
        monkeypatch.setattr(unread, "LONG_BYTES", 0)
        monkeypatch.setattr(unread, "PIECE_BYTES", piece)
        assert meant(BODIES[name]) == plain


def test_a_digest_knows_no_white_space():
    """A repeated request may be written otherwise, and still is the same; another element makes it another."""
    first, spaced, other = (meant(BODIES[name])[2] for name in ("numbers", "white space", "nested"))
    assert first == spaced != other
