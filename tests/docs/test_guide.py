"""The guide is true: every command of it is run, and prints what stands below it, in both languages.

`UPDATE_DOCS=1` writes what the commands print into both documents instead of comparing.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket

import pytest
from markdown_it import MarkdownIt

from crossover.stack.services import ROOT, free_ports
from tests import documents

pytestmark = pytest.mark.timeout(900)
"""The whole guide is one run, of its commands one after the other."""
PAGES = {language: ROOT / "docs" / f"guide{suffix}.md" for language, suffix in (("en", ""), ("ko", ".ko"))}
PORTS = {
    "MODEL_SERVER_HTTP_PORT": "8000", "MODEL_SERVER_GRPC_PORT": "8001", "GATEWAY_PORT": "8080",
    "SPARE_1": "8090", "SPARE_2": "8091", "SPARE_3": "8092",
    "SPARE_4": "8093", "SPARE_5": "8094",
}  # fmt: skip
"""The ports that the guide uses."""
UPDATE = bool(os.environ.get("UPDATE_DOCS"))


def steps(page: str) -> list[tuple[str, str, str]]:
    """Each command with what stands below it: what it prints, and what the terminal of `make run` prints."""
    found: list[tuple[str, str, str]] = []
    for block in documents.blocks(page):
        if block.language == documents.COMMAND:
            found.append((block.text, "", ""))
            continue
        command, output, log = found.pop()
        shown = (output, block.text) if block.language == documents.LOG else (block.text, log)
        found.append((command, *shown))
    return found


@pytest.fixture(scope="module")
def ran(tmp_path_factory) -> list[tuple[str, str, str]]:
    """Every command of the guide with what stands below it and what it printed, one after the other."""
    (start, *rest) = steps(PAGES["en"].read_text("utf-8"))
    folder = tmp_path_factory.mktemp("guide")
    ports = dict(zip(PORTS, map(str, free_ports(len(PORTS))), strict=True))
    environment = {**ports, "DATA_DIR": str(folder / "data"), "TMPDIR": str(folder)}
    done = []
    with (
        documents.make_run(start[0], folder / "make_run.log", environment) as log,
        documents.Shell(environment, {PORTS[name]: port for name, port in ports.items()}, folder / "block.sh") as shell,
    ):
        for command, expected, logged in rest:
            done.append((command, expected, shell.run(command)))
            for line in logged.splitlines():
                documents.await_line(log, line)
    return done


@pytest.mark.slow
def test_every_command_prints_what_is_shown(ran):
    """Apart from ids, dates and times, which differ each time."""
    if UPDATE:
        for page in PAGES.values():
            page.write_text(updated(page.read_text("utf-8"), [printed for _, _, printed in ran]), "utf-8")
        return
    assert len(ran) > 30
    for command, expected, printed in ran:
        if "bound ::1" in command and not _has_ipv6():
            continue
        assert documents.normalised(printed) == documents.normalised(expected), command


def test_both_languages_have_the_same_blocks():
    """Only the prose is translated."""
    english, korean = (documents.blocks(page.read_text("utf-8")) for page in PAGES.values())
    assert english == korean


NAMED_ELSEWHERE = {
    "255", "4711", "9110", "9.3", "9.3.3", "1023", "1024", "255.255.255.255", "65535", "410", "503", "16",
}  # fmt: skip
"""An example of a process id, an RFC, limits of the standards, and the statuses that another section or list has."""


@pytest.mark.parametrize("page", PAGES.values(), ids=PAGES)
def test_every_number_that_prose_names_is_shown(page):
    """A number of two digits or more, in a section's prose, stands in its blocks or tables, in what is typed or what is printed."""
    named = 0
    for section in re.split(r"^## ", page.read_text("utf-8"), flags=re.MULTILINE)[1:]:
        shown = "".join(block.text for block in documents.blocks(section)).replace(",", "").replace("_", "")
        shown += "".join(re.findall(r"^\|.*$|http://\S+", section, re.MULTILINE))
        prose = re.sub(r"\]\([^)]*\)|^\|.*$", "]", documents.FENCED.sub("", section), flags=re.MULTILINE)
        wanted = set(re.findall(r"(?<![\w.])\d[\d.,]*\d(?!\w)", prose)) - NAMED_ELSEWHERE
        named += len(wanted)
        missing = {number for number in wanted if number.replace(",", "").removesuffix(".") not in shown}
        assert missing == set(), section.splitlines()[0]
    assert named > 10


STATUS = re.compile(r"(?<![\d.,:^-])[1-5]\d\d(?![\d.,:]?\d)")
SHOWN_ELSEWHERE = {"503"}
"""It needs a model server that is away, and is in the last section."""


@pytest.mark.parametrize("page", PAGES.values(), ids=PAGES)
def test_every_status_that_prose_names_is_shown(page):
    """A status code in a section's prose stands in what a command of that section prints, so that neither can change alone."""
    named = 0
    for section in re.split(r"^## ", page.read_text("utf-8"), flags=re.MULTILINE)[1:]:
        printed = "".join(block.text for block in documents.blocks(section) if block.language != documents.COMMAND)
        prose = re.sub(r"^\|.*$|`[^`]*`", "", documents.FENCED.sub("", section), flags=re.MULTILINE)
        wanted = {code for code in STATUS.findall(prose) if int(code) not in (255, 256)}
        named += len(wanted)
        assert {code for code in wanted if code not in printed} - SHOWN_ELSEWHERE == set(), section.splitlines()[0]
    assert named > 15


@pytest.mark.parametrize("page", PAGES.values(), ids=PAGES)
def test_every_star_is_emphasis(page):
    """A star that markdown shows as a star is a mistake; after a bracket and before a Korean particle it is easily made."""
    shown = re.sub(
        r"<(pre|code)\b.*?</\1>", "", MarkdownIt().enable("table").render(page.read_text("utf-8")), flags=re.DOTALL
    )
    assert "*" not in shown


@pytest.mark.parametrize("page", PAGES.values(), ids=PAGES)
def test_every_link_leads_somewhere(page):
    """To a heading of the page, or to a file that is there."""
    text = page.read_text("utf-8")
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}
    for path, anchor in re.findall(r"\]\((?!http)([^)#]*)#?([^)]*)\)", text):
        assert (page.parent / path).exists() if path else anchor in anchors, (path, anchor)


def _has_ipv6() -> bool:
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET6) as probe:
        probe.bind(("::1", 0))
        return True
    return False


def updated(page: str, printed: list[str]) -> str:
    """The document with what its commands printed below each; what differs only in what varies is left alone."""
    outputs = iter(["", *printed])

    def with_output(found: re.Match) -> str:
        output, shown = next(outputs), found["shown"] or ""
        if documents.normalised(output) == documents.normalised(shown):
            return found[0]
        return f"{found['command']}\n\n```text\n{output}\n```" if output else found["command"]

    pattern = r"(?P<command>^```sh\n(?:(?!^```).*\n)*```$)(?:\n\n```(?!sh|log)\w+\n(?P<shown>(?:(?!^```).*\n)*)```$)?"
    return re.sub(pattern, with_output, page, flags=re.MULTILINE)
