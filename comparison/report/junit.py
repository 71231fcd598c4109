"""The run's answer as JUnit XML, which CI systems show: a case for each judged cell, and for each rule of --fail-if.

A rule that holds is a failure, a cell whose numbers may not be used is an error, and one without a verdict is skipped.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

from crossover.comparison.analysis.failif import RuleError
from crossover.comparison.report import words

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from crossover.comparison.analysis.failif import Rule

_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 cannot hold (2.2)."""


def write(summary: dict[str, Any], rules: Sequence[Rule], path: Path) -> None:
    path.write_text(text(summary, rules))


def text(summary: dict[str, Any], rules: Sequence[Rule]) -> str:
    """The whole document."""
    suite = ET.Element("testsuite", name="gRPC or REST", timestamp=summary["created"].rstrip("Z"))
    if not summary["complete"]:
        _case(suite, "run", "the run is complete", "error", summary["stopped"])
    for cell in summary["cells"]:
        kind, said = _outcome(cell)
        _case(suite, "/".join(cell["pair"]), f"{cell['metric']} at {cell['where']}", kind, said)
    for rule in rules:
        try:
            held = rule.holds(summary["cells"])
        except RuleError as error:
            _case(suite, "fail-if", rule.text, "error", str(error))
        else:
            _case(suite, "fail-if", rule.text, "failure" if held else "", "the rule holds" if held else "")
    for kind, name in (("failure", "failures"), ("error", "errors"), ("skipped", "skipped")):
        suite.set(name, str(len(suite.findall(f"testcase/{kind}"))))
    suite.set("tests", str(len(suite.findall("testcase"))))
    ET.indent(suite)
    return ET.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"


def _outcome(cell: dict[str, Any]) -> tuple[str, str]:
    if cell["verdict"] == "invalid":
        return "error", cell["reason"]
    if cell["verdict"] == "undecided":
        return "skipped", words.judged(cell)
    return "", words.judged(cell)


def _case(suite: ET.Element, group: str, name: str, kind: str, said: str) -> None:
    case = ET.SubElement(suite, "testcase", classname=_clean(group), name=_clean(name))
    if kind:
        ET.SubElement(case, kind, message=_clean(said))
    elif said:
        ET.SubElement(case, "system-out").text = _clean(said)


def _clean(said: str) -> str:
    return _FORBIDDEN.sub("?", said)
