"""A file of settings (`--config FILE` or `CONFIG_FILE`), TOML: the names of the variables in lower case.

Keys at the top concern every service; a table such as `[gateway]` is read by the service of that name, so that one file can
serve both. A flag goes before an environment variable, which goes before the file.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

VARIABLE = "CONFIG_FILE"
TABLES = ("gateway", "model_server")


class ConfigFileError(ValueError):
    """The file cannot be used; the text is one sentence that names it."""


def read(path: Path, own: Iterable[str], tables: Iterable[str]) -> dict[str, Any]:
    """The settings in the file for a service that has the settings `own` and reads `tables`.

    ConfigFileError when it is missing, is not TOML, or has a key that no setting has.
    """
    import tomllib

    try:
        document = tomllib.loads(path.read_text("utf-8-sig"))
    except OSError as error:
        raise ConfigFileError(f"the settings file '{path}' cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigFileError(f"the settings file '{path}' is not UTF-8 text") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigFileError(f"the settings file '{path}' is not TOML: {error}") from None
    except RecursionError:
        raise ConfigFileError(f"the settings file '{path}' is nested too deep") from None
    except ValueError:  # Python's bound on the digits of an integer
        raise ConfigFileError(f"the settings file '{path}' has a number that is too long") from None
    settings = set(own)
    values = _checked(path, "", {key: value for key, value in document.items() if key not in TABLES}, settings)
    for table in TABLES:
        content = document.get(table, {})
        if not isinstance(content, dict):
            raise ConfigFileError(f"'{table}' in the settings file '{path}' is a value; it takes a table, [{table}]")
        if table in tables:
            values |= _checked(path, f"[{table}] ", content, settings)
    return values


def _checked(path: Path, where: str, values: dict[str, Any], settings: set[str]) -> dict[str, Any]:
    import difflib

    for key, value in values.items():
        is_table = isinstance(value, dict)
        if key not in settings:
            shown = f"[{key[:60]}]" if is_table else f"'{key[:60]}'"
            close = difflib.get_close_matches(key.lower().replace("-", "_"), TABLES if is_table else settings, 1)
            hint = f"; did you mean {f'[{close[0]}]' if is_table else close[0]}?" if close else ""
            what = "table" if is_table else "setting"
            raise ConfigFileError(f"{where}{shown} in the settings file '{path}' is no {what} of this program{hint}")
        if isinstance(value, (dict, list)):
            raise ConfigFileError(f"{where}{key} in the settings file '{path}' takes one value")
    return values
