"""What a declared setting takes, from text, from TOML and from Python, and what it refuses in one sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest

from crossover.service.declared import Declared, SettingError, setting


def _check_even(value: int) -> None:
    if value % 2:
        raise ValueError("it takes an even number")


class Some(Declared):
    count: int = setting(2, ge=0, le=8, check=_check_even, description="a count")
    share: float = setting(0.5, ge=0, le=10, description="a share")
    on: bool = setting(False, description="a switch")
    name: str = setting("", description="a name")
    kind: Literal["a", "b"] = setting(
        "a", spelled=lambda value: value.lower() if isinstance(value, str) else value, description="a kind"
    )
    folder: Path = setting(Path("here"), description="a folder")
    file: Path | None = setting(None, description="a file")


class More(Some):
    other: int = setting(1, description="another")


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch):
    for name in More.fields:
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.mark.parametrize(
    ("name", "given", "value"),
    [
        ("count", "4", 4), ("count", " 4 ", 4), ("count", 4, 4), ("count", 4.0, 4), ("share", "1e-3", 0.001), ("share", 1, 1.0),
        ("on", "1", True), ("on", "True", True), ("on", "off", False), ("on", True, True),
        ("on", 0, False), ("name", "a name", "a name"), ("kind", "B", "b"), ("folder", "there", Path("there")),
        ("folder", Path("there"), Path("there")), ("file", None, None), ("file", "x", Path("x")),
    ],
)  # fmt: skip
def test_what_a_setting_takes(name, given, value):
    """Text as variables have it, and the types that TOML and Python have."""
    found = getattr(Some(**{name: given}), name)
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("name", "given", "right"),
    [
        ("count", "x", "it takes an integer from 0 to 8"), ("count", "9", "it takes an integer from 0 to 8"),
        ("count", "1e1", "it takes an integer from 0 to 8"), ("count", 4.5, "it takes an integer from 0 to 8"),
        ("count", "9" * 5000, "it takes an integer from 0 to 8"), ("count", "3", "it takes an even number"),
        ("count", None, "it takes an integer from 0 to 8"), ("count", True, "it takes an integer from 0 to 8"),
        ("count", "\u0664", "it takes an integer from 0 to 8"), ("count", "", "it is blank; it takes an integer from 0 to 8"),
        ("share", "inf", "it takes a number from 0 to 10"), ("share", "nan", "it takes a number from 0 to 10"),
        ("on", "maybe", "it takes 1 or 0"), ("on", 2, "it takes 1 or 0"), ("name", 5, "it takes text"),
        ("name", " ", "it is blank; it takes text"), ("name", "\udcff", "it has characters that cannot be seen"),
        ("kind", "c", "it takes a or b"), ("kind", 1, "it takes a or b"), ("folder", 1, "it takes a path"),
        ("folder", "\ud800", "it has characters that cannot be seen"),
    ],
)  # fmt: skip
def test_what_it_refuses(name, given, right):
    """The sentence names the setting, repeats the beginning of the value, and says what would be right."""
    with pytest.raises(SettingError) as caught:
        Some(**{name: given})
    assert (caught.value.name, caught.value.right) == (name, right)
    assert str(caught.value) == f"{name.upper()} is '{str(given)[:80]}'; {right}"
    assert caught.value.sentence(f"--{name}").startswith(f"--{name} is ")


def test_variables_stand_in_for_what_is_not_given(monkeypatch):
    """What is given wins; an empty variable is none; what is not a default is known by name."""
    monkeypatch.setenv("COUNT", "6")
    monkeypatch.setenv("NAME", "")
    monkeypatch.setenv("SHARE", "0.25")
    some = Some(share="0.75")
    assert (some.count, some.share, some.name) == (6, 0.75, "")
    assert some.given == {"count", "share"}


def test_a_class_has_its_bases_settings_first():
    """One declaration is enough, and order is that of declaration."""
    assert list(More.fields) == [*Some.fields, "other"]
    assert list(More.own_fields()) == ["other"]
    assert More(other="3").count == 2


def test_settings_are_frozen_and_copied_with_changes():
    """Nobody turns a knob behind another's back."""
    some = Some(count=4)
    with pytest.raises(AttributeError):
        some.count = 6
    changed = some.changed(share=0.1)
    assert (changed.count, changed.share, some.share) == (4, 0.1, 0.5)
    assert changed.given == {"count", "share"}
    assert changed != some
    assert Some(count="4") == some


def test_a_setting_that_there_is_not_is_a_mistake_in_code():
    """Whoever spells a name wrong hears of it."""
    with pytest.raises(TypeError, match="cuont"):
        Some(cuont=1)
