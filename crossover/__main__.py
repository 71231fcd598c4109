"""`crossover COMMAND ...`, also as `python -m crossover`: one command for what the rooms offer."""

from __future__ import annotations

import importlib
import sys
from dataclasses import dataclass
from typing import NoReturn

from crossover import VERSION
from crossover.completion import SHELLS, script
from crossover.service.interrupts import interruptible, leave

PROGRAM = "crossover"


@dataclass(frozen=True, slots=True)
class Command:
    """A line of the table: `function(arguments, program)` of a module gives the exit code."""

    summary: str
    module: str
    before: tuple[str, ...] = ()
    """Arguments in front of the user's, where the module has commands of its own."""


COMMANDS: dict[str, Command] = {
    "run": Command("start the model server and the gateway", "crossover.stack.__main__"),
    "serve": Command("start the model server alone", "crossover.model_server.__main__"),
    "gateway": Command("start the REST gateway alone", "crossover.rest_gateway.__main__"),
    "keys": Command("make, list and take back API keys", "crossover.rest_gateway.__main__", ("keys",)),
    "migrate": Command(
        "bring the gateway's database up, or back to a revision", "crossover.rest_gateway.__main__", ("migrate",)
    ),
    "infer": Command("run a model over any wire", "crossover.clients.__main__", ("infer",)),
    "models": Command("list models and their states", "crossover.clients.__main__", ("models",)),
    "health": Command("is the service ready?", "crossover.clients.__main__", ("health",)),
    "compare": Command("measure gRPC against REST on these services", "crossover.comparison.__main__", ("compare",)),
    "pair": Command("measure any gRPC method against any HTTP endpoint", "crossover.comparison.__main__", ("pair",)),
    "faults": Command("which wire loses less when things fail?", "crossover.comparison.__main__", ("faults",)),
    "plan": Command("what a rate of requests takes on each wire", "crossover.comparison.__main__", ("plan",)),
    "report": Command("make a run's report again", "crossover.comparison.__main__", ("report",)),
    "bench": Command(
        "what each path costs, against the bare library's cost", "crossover.comparison.__main__", ("bench",)
    ),
    "version": Command("print the version", "crossover.__main__"),
    "completion": Command(
        'print shell completion for bash or zsh: eval "$(crossover completion bash)"', "crossover.__main__"
    ),
}
_EXTRAS = {"crossover.comparison.__main__": "lab"}
"""What a room needs beyond the plain installation."""


def main(arguments: list[str] | None = None) -> int:
    """Run one command; its exit code, 2 for a command that there is not."""
    given = sys.argv[1:] if arguments is None else arguments
    name, rest = (given[0], given[1:]) if given else ("--help", [])
    if name in ("-h", "--help"):
        print(_usage())
        return 0
    if name in ("version", "--version"):
        print(f"{PROGRAM} {VERSION}")
        return 0
    if name == "completion":
        return _completion(rest)
    command = COMMANDS.get(name)
    if command is None:
        print(f"{PROGRAM}: there is no command '{name[:40]}'; choose one of {', '.join(COMMANDS)}", file=sys.stderr)
        return 2
    return interruptible(lambda: lambda: _run(command, name, rest), f"{PROGRAM} {name}")


def program() -> NoReturn:
    """The entry point of the installed command."""
    leave(main())


def _run(command: Command, name: str, rest: list[str]) -> int:
    shown = PROGRAM if command.before else f"{PROGRAM} {name}"
    try:
        module = importlib.import_module(command.module)
        return int(module.main([*command.before, *rest], shown))
    except ModuleNotFoundError as error:
        extra = _EXTRAS.get(command.module)
        if extra is None or (error.name or "").startswith("crossover"):
            raise
        print(f"{PROGRAM} {name} needs '{error.name}': pip install 'crossover[{extra}]'", file=sys.stderr)
        return 2


def _usage() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {command.summary}" for name, command in COMMANDS.items()]
    return "\n".join([f"usage: {PROGRAM} COMMAND ...  (COMMAND --help tells more)", "", *lines])


def _completion(rest: list[str]) -> int:
    if rest in (["-h"], ["--help"]):
        print(f'usage: {PROGRAM} completion {"|".join(SHELLS)}\n\nFor one shell: eval "$({PROGRAM} completion bash)"')
        return 0
    if len(rest) != 1 or rest[0] not in SHELLS:
        print(f"{PROGRAM} completion takes a shell: {' or '.join(SHELLS)}", file=sys.stderr)
        return 2
    print(script(rest[0], PROGRAM, COMMANDS))
    return 0


if __name__ == "__main__":
    program()
