"""Shell completion: the commands, and of each its flags, its files and the wires.

Flags are read from a command's own `--help` when Tab is pressed, so that there is no second list of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_FLAGS = "{program} $COMMAND --help 2>/dev/null | grep -oE -e '--[a-z][a-z0-9-]*' | sort -u"
_BASH = """\
_{program}() {{
  local word=${{COMP_WORDS[COMP_CWORD]}} COMMAND=${{COMP_WORDS[1]}}
  if ((COMP_CWORD == 1)); then COMPREPLY=($(compgen -W "{commands}" -- "$word"))
  elif [[ ${{COMP_WORDS[COMP_CWORD-1]}} == --wire ]]; then COMPREPLY=($(compgen -W "{wires}" -- "$word"))
  elif [[ $word == -* ]]; then COMPREPLY=($(compgen -W "$({flags})" -- "$word"))
  else COMPREPLY=(); fi
}}
complete -o default -F _{program} {program}"""
_ZSH = """\
_{program}() {{
  local COMMAND=$words[2]
  if ((CURRENT == 2)); then compadd -- {commands}
  elif [[ $words[CURRENT-1] == --wire ]]; then compadd -- {wires}
  elif [[ $words[CURRENT] == -* ]]; then compadd -- ${{(f)"$({flags})"}}
  else _files; fi
}}
compdef _{program} {program}"""
SHELLS = {"bash": _BASH, "zsh": _ZSH}


def script(shell: str, program: str, commands: Iterable[str]) -> str:
    """What the shell evaluates."""
    from crossover.protocol.wires import WIRES

    return SHELLS[shell].format(
        program=program,
        commands=" ".join(commands),
        wires=" ".join([*WIRES, "all"]),
        flags=_FLAGS.format(program=program),
    )
