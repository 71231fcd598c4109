"""`python -m comparison pair`: ask both services, show what they say, measure them, and say what it shows."""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
from pathlib import Path
from typing import TYPE_CHECKING

from crossover.comparison import commands
from crossover.comparison.network.profiles import LOOPBACK
from crossover.comparison.options import UsageError, continued
from crossover.comparison.pair import differences, options, start, stream
from crossover.comparison.pair.cases import answered
from crossover.comparison.pair.errors import PairError
from crossover.comparison.pair.exchange import grpc_answer, rest_answer
from crossover.comparison.pair.forms import FORMS
from crossover.comparison.pair.subject import PairSubject, PairView
from crossover.comparison.pair.twin import command as twin_command
from crossover.comparison.services import scratch

if TYPE_CHECKING:
    from crossover.comparison.pair.cases import Asker, Seen, Variants

_SHOWN = 400
TWIN, INIT = "twin", "init"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options, and what runs them."""
    options.add_arguments(parser)
    parser.set_defaults(command=functools.partial(run, parser))


def run(parser: argparse.ArgumentParser, given: argparse.Namespace) -> int:
    """Compare a pair; or write a file that describes one (`init`); or compare one service with its twin (`twin`)."""
    if given.what == INIT:
        return commands.refusing(lambda: start.write(given), Path())
    if given.what == TWIN:
        return twin_command.run(parser, given, functools.partial(run, parser))
    try:
        whole = given.arguments
        arguments = _own(whole[1:], given)
        goes_on = given.goes_on
        if goes_on is not None:
            given = continued(given, parser, "pair")
            arguments = given.words
        out = commands.folder_of(given)
        asked = options.asked(given, arguments, parser)
        if goes_on is not None:
            for name in ("out", "blocks", "goes_on", "fail_if", "markdown", "junit"):
                setattr(asked.given, name, getattr(given, name))
    except UsageError as error:
        return commands.refuse(str(error))
    asked.given.arguments = whole
    asked.given.network = asked.given.network or [LOOPBACK]
    try:
        options.check_network(asked.given)
    except UsageError as error:
        return commands.refuse(str(error))
    if not asked.given.dry_run and (elsewhere := commands.moved(asked.given)) is not None:
        return elsewhere
    return commands.refusing(lambda: _compared(asked, out), out)


def _own(arguments: list[str], given: argparse.Namespace) -> list[str]:
    """The command line after `pair`; a caller within Python has given a namespace alone."""
    return arguments if given.what in arguments else [given.what] if given.what else []


def _compared(asked: options.Asked, out: Path) -> int:
    pair = options.pair_of(asked)
    if asked.given.dry_run:
        with scratch.folder() as folder:
            course = options.course_of(asked, pair, Path(folder))
            return _shown(PairSubject(pair, course), forms=True)
    course = options.course_of(asked, pair, out)
    subject = PairSubject(pair, course)
    if course.networks == [LOOPBACK] and not pair.processes.commands and not course.goes_on:
        code = _shown(subject)
        if code:
            return code
    return commands.measured(course, subject, asked.given.arguments)


def _shown(subject: PairSubject, *, forms: bool = False) -> int:
    """Ask both services for every row; show the first row's two replies and what differs; with `forms`, too, which of the
    arms that not every service offers these do.
    """
    view = PairView(subject.pair, subject.course, subject.course.seed, None)
    try:
        with subject.asker(view) as asker:
            for number, variants in enumerate(subject.variants_of_cases):
                case = subject.pair.cases[number]
                wrong = _one_call_each(subject, asker, variants, case.name)
                if wrong:
                    print("What differs:", *(f"  {text}" for text in wrong), sep="\n")
                    return commands.refuse(f"the two services do not answer alike: {'; '.join(wrong)}")
                seen = answered(variants, asker, case.name)
                for text in differences.seen_in(subject.pair, subject.method, asker, seen):
                    print(f"Besides the protocol: {text}")
        rows = sum(map(len, subject.variants_of_cases))
        print(f"The answers are the same ({rows} row{'s' * (rows != 1)} asked of both).")
        if forms:
            names = [name for name, form in FORMS.items() if not (subject.method.schema.stream and form.answer)]
            missing = view.not_offered(names, subject.variants_of_cases[0])
            offered = [name for name, why in missing.items() if not why]
            print(f"Beside the usual arms these services offer (--arms): {', '.join(offered) or 'none'}")
    finally:
        view.stop()
    return commands.OK


def _one_call_each(subject: PairSubject, asker: Asker, variants: Variants, name: str) -> list[str]:
    """Show the first row's requests and replies; what is wrong with them."""
    seen = asker.ask(variants.grpc[0], variants.rest[0])
    _, wrong = asker.judged(seen)
    pair = subject.pair
    if name:
        print(f"Case {name}")
    print(f"gRPC  {subject.model} at {pair.grpc.address}")
    print(f"  asked     {_short(variants.grpc_texts[0])}")
    print(f"  answered  {_grpc_words(subject, seen)}")
    line = variants.rest[0].partition(b" HTTP/")[0]
    print(f"HTTP  {line.decode()} at {pair.rest.address}")
    body = variants.rest[0].partition(b"\r\n\r\n")[2]
    print(f"  asked     {_short(body) or 'no body'}")
    print(f"  answered  {_rest_words(seen)}")
    return wrong


def _grpc_words(subject: PairSubject, seen: Seen) -> str:
    is_stream = subject.method.schema.stream
    answer = grpc_answer(seen.grpc, whole=is_stream)
    if answer.message is None:
        return f"{answer.code} {answer.text}".strip()
    with contextlib.suppress(PairError):
        messages = [message for message, _ in stream.of_grpc(answer.message)] if is_stream else [answer.message]
        documents = (subject.method.as_json(subject.method.decoded(message)) for message in messages)
        text = " ".join(json.dumps(document, ensure_ascii=False) for document in documents)
        count = f"{len(messages)} message{'s' * (len(messages) != 1)}, " if is_stream else ""
        return f"{answer.code} {_short(text.encode())} ({count}{len(answer.message)} bytes)"
    return f"{answer.code} {_short(answer.message)}"


def _rest_words(seen: Seen) -> str:
    answer = rest_answer(seen.rest)
    return f"{answer.status} {_short(answer.body)} ({len(answer.body)} bytes)"


def _short(data: bytes) -> str:
    text = " ".join(data[: 4 * _SHOWN].decode("utf-8", "replace").split())
    text = "".join(letter if letter.isprintable() else "?" for letter in text)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."
