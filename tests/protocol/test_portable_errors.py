"""Every exception of the project survives `pickle` and `copy` with everything that it says."""

from __future__ import annotations

import copy
import importlib
import inspect
import pickle
import pkgutil

import pytest

import crossover
from crossover.protocol.errors import Code, InferenceError
from crossover.transport.grpc.status import Status

VALUES = {
    "code": Code.NOT_FOUND, "status": 404, "message": "no 'model' ä", "details": "why", "text": "why", "size": 7, "taken": 9, "limit": 8,
    "headers": [(b"allow", b"GET")], "detail": "what", "retry_after": 1.5, "trailing": (("k", "v"),),
    "members": {"a": 1},
}  # fmt: skip
"""What each parameter of a constructor is given, by its name."""
SPECIAL = {"Problem": {"headers": {"A": "b"}}, "CallFailedError": {"status": Status(5, "gone", (("k", b"v"),))}}
_ENTRY_POINTS = "__main__"


def exceptions() -> list[type[Exception]]:
    """Every exception class that a module of ours defines."""
    found: dict[type[Exception], None] = {}
    for module in pkgutil.walk_packages(crossover.__path__, "crossover."):
        if module.name.endswith(_ENTRY_POINTS) or ".repository." in module.name or "tests" in module.name.split("."):
            continue
        try:
            loaded = importlib.import_module(module.name)
        except ModuleNotFoundError:
            continue  # needs a package of the lab's or of the tools' that is not installed here
        for _, kind in inspect.getmembers(loaded, inspect.isclass):
            if issubclass(kind, Exception) and kind.__module__.startswith("crossover."):
                found[kind] = None
    return list(found)


def example(kind: type[Exception]) -> Exception:
    """One of its instances, with a value for every parameter of its constructor."""
    if not any("__init__" in vars(base) for base in kind.__mro__ if base.__module__.startswith("crossover.")):
        return kind("what happened")
    given = {}
    for name, parameter in list(inspect.signature(kind.__init__).parameters.items())[1:]:
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            return kind("what happened")
        given[name] = SPECIAL.get(kind.__name__, {}).get(name, VALUES.get(name, "what happened"))
    return kind(**given)


def test_the_errors_that_callers_see_are_among_them():
    """The walk finds the classes that cross process borders."""
    names = {kind.__name__ for kind in exceptions()}
    assert {"InferenceError", "HttpError", "Problem", "CallFailedError", "ModelError"} <= names


@pytest.mark.parametrize("kind", exceptions(), ids=lambda kind: kind.__qualname__)
@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda error: pickle.loads(pickle.dumps(error))])
def test_every_exception_survives_pickle_and_copy(kind, again):
    """Its class, its text and all that it carries come back."""
    error = example(kind)
    twin = again(error)
    assert type(twin) is kind
    assert (str(twin), repr(twin), twin.args) == (str(error), repr(error), error.args)
    assert vars(twin) == vars(error)


def test_a_code_stays_what_it_is_across_a_process_border():
    """NOT_FOUND does not become INTERNAL on its way back from a worker process."""
    twin = pickle.loads(pickle.dumps(InferenceError(Code.NOT_FOUND, "gone", 2.5)))
    assert (twin.code, twin.message, twin.retry_after) == (Code.NOT_FOUND, "gone", 2.5)


def test_the_clients_export_the_error_and_its_codes():
    """`from crossover.clients import InferenceError, Code` is the public face."""
    from crossover import clients

    assert clients.InferenceError is InferenceError
    assert clients.Code is Code
