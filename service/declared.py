"""Settings that a class declares as fields: what each takes, its bounds and its default stand once.

    class Settings(Declared):
        port: int = setting(8080, ge=0, le=65535, description="the port")

`Settings(port="9000")` converts what flags, variables and files give. A field that is not given has the value of the
environment variable of its name in capitals, where that is not empty, else its default.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, get_args, get_origin, get_type_hints

from crossover.protocol.errors import PortableError
from crossover.protocol.names import is_clean

if TYPE_CHECKING:
    from collections.abc import Callable

_SHOWN_CHARS = 80
_USER_INFO = re.compile(r"(?<=://)\S*@")
_ON, _OFF = frozenset({"1", "true", "t", "yes", "y", "on"}), frozenset({"0", "false", "f", "no", "n", "off"})


def without_user_info(text: str) -> str:
    """The text without the users and passwords of the URLs in it."""
    return _USER_INFO.sub("***@", text)


class SettingError(PortableError, ValueError):
    """A value that does not fit its setting; the text is one sentence with the variable's name."""

    def __init__(self, name: str, value: object, right: str) -> None:
        self.name = name
        self.right = right
        """What would be right."""
        self._value = value
        super().__init__(self.sentence(name.upper()))

    def sentence(self, spelled: str, *, hidden: bool = False) -> str:
        """The sentence for a setting that the user spelled so; `hidden`: the value is a secret."""
        value = "***" if hidden else without_user_info(str(self._value))[:_SHOWN_CHARS]
        return f"{spelled} is '{value}'; {self.right}"


class Setting:
    """One field: what it takes, beside its type, which is the annotation of the class that declares it."""

    __slots__ = ("bounds", "check", "default", "description", "kind", "spelled")

    def __init__(
        self,
        default: Any,
        description: str,
        check: Callable[[Any], object] | None,
        spelled: Callable[[object], object] | None,
        bounds: tuple[float, float] | None,
    ) -> None:
        self.default = default
        self.description = description
        self.bounds = bounds
        self.check = check
        self.spelled = spelled
        self.kind: Any = None

    def value(self, name: str, given: object) -> Any:
        """What was given, as the field's type; SettingError when it does not fit."""
        value = given if self.spelled is None else self.spelled(given)
        try:
            if value == "" and self.default in ("", None):
                return self.default
            if isinstance(value, str):
                self._check_readable(value)
            value = self._converted(value)
            if self.check is not None:
                self.check(value)
        except ValueError as error:
            raise SettingError(name, given, str(error)) from None
        return value

    def takes(self) -> str:
        """What a value is, in words."""
        if get_origin(self.kind) is Literal:
            *most, last = get_args(self.kind)
            return f"{', '.join(most)} or {last}"
        if self.bounds is not None:
            return f"{_WORDS[self.kind]} from {self.bounds[0]} to {self.bounds[1]}"
        return _WORDS[self.kind]

    def _check_readable(self, text: str) -> None:
        """ValueError for a text that is blank, or that has characters that cannot be seen."""
        if not text.strip():
            raise ValueError(f"it is blank; it takes {self.takes()}")
        if not (_is_clean_path(text) if self.kind in _PATHS else text.isprintable()):
            raise ValueError("it has characters that cannot be seen")

    def _converted(self, given: object) -> Any:
        try:
            if isinstance(given, bool) and self.kind is not bool:
                raise TypeError
            if get_origin(self.kind) is Literal:
                return _one_of(get_args(self.kind), given)
            value = _CONVERT[self.kind](given)
            if self.bounds is not None and not self.bounds[0] <= value <= self.bounds[1]:
                raise ValueError
            return value
        except (TypeError, ValueError, OverflowError):
            raise ValueError(f"it takes {self.takes()}") from None


def setting(
    default: Any,
    *,
    description: str,
    ge: float | None = None,
    le: float | None = None,
    check: Callable[[Any], object] | None = None,
    spelled: Callable[[object], object] | None = None,
) -> Any:
    """Declare a field; a number has both bounds, `ge` and `le`.

    `spelled` gives the usual spelling of what was given, before anything else; `check` raises ValueError, a sentence that says
    what would be right, for a value of the type that does not do.
    """
    bounds = (ge, le) if ge is not None and le is not None else None
    return Setting(default, description, check, spelled, bounds)


class Declared:
    """Frozen settings; a subclass declares more."""

    fields: ClassVar[dict[str, Setting]] = {}
    """By name, those of base classes first."""
    given: frozenset[str]
    """The names of those that are not defaults."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls.fields = {
            name: value
            for declaring in reversed(cls.__mro__)
            for name, value in vars(declaring).items()
            if isinstance(value, Setting)
        }
        kinds = get_type_hints(cls)
        for name, field in cls.own_fields().items():
            field.kind = kinds[name]

    def __init__(self, **given: Any) -> None:
        """SettingError for the first value that does not fit."""
        if unknown := given.keys() - self.fields.keys():
            raise TypeError(f"{', '.join(sorted(unknown))}: there are no such settings")
        values = vars(self)
        values["given"] = frozenset(name for name in self.fields if name in given or os.environ.get(name.upper()))
        for name, field in self.fields.items():
            if name in values["given"]:
                values[name] = field.value(name, given[name] if name in given else os.environ[name.upper()])
            else:
                values[name] = field.default

    @classmethod
    def own_fields(cls) -> dict[str, Setting]:
        """Those that this class itself declares."""
        return {name: value for name, value in vars(cls).items() if isinstance(value, Setting)}

    def changed(self, **values: Any) -> Self:
        """The same settings with other values, which are of the right types."""
        other = object.__new__(type(self))
        vars(other).update(vars(self) | values, given=self.given | values.keys())
        return other

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"settings do not change; {name} was to become {value!r}")

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and vars(other) == vars(self)

    def __hash__(self) -> int:
        return hash(tuple(vars(self).items()))


def _one_of(choices: tuple[object, ...], given: object) -> object:
    if given not in choices:
        raise ValueError
    return given


def _integer(given: object) -> int:
    if isinstance(given, int) or (isinstance(given, float) and given.is_integer()):
        return int(given)
    return int(_ascii(given))


def _number(given: object) -> float:
    return float(given if isinstance(given, int | float) else _ascii(given))


def _ascii(given: object) -> str:
    """The text of a number: digits of other scripts are none, though Python takes them."""
    if not isinstance(given, str) or not given.isascii():
        raise TypeError
    return given


def _switch(given: object) -> bool:
    word = str(given).lower()
    if word in _ON or word in _OFF:
        return word in _ON
    raise ValueError


def _text(given: object) -> str:
    if not isinstance(given, str):
        raise TypeError
    return given.strip()


def _path(given: object) -> Path:
    if not isinstance(given, str | Path):
        raise TypeError
    return Path(given)


def _path_or_none(given: object) -> Path | None:
    return None if given is None else _path(given)


def _is_clean_path(text: str) -> bool:
    """A file's name may have any characters but controls, and bytes that are no text."""
    try:
        return is_clean(os.fsencode(text).decode("utf-8", "replace"))
    except UnicodeEncodeError:
        return False


_PATHS = (Path, Path | None)
_CONVERT: dict[Any, Callable[[object], Any]] = {
    str: _text,
    int: _integer,
    float: _number,
    bool: _switch,
    Path: _path,
    Path | None: _path_or_none,
}
_WORDS: dict[Any, str] = {
    str: "text",
    int: "an integer",
    float: "a number",
    bool: "1 or 0",
    **dict.fromkeys(_PATHS, "a path"),
}
