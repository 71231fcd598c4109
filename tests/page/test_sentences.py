"""The services' sentences on a Korean page: a table of them, which follows the sources that say them."""

from __future__ import annotations

import ast
import re

import pytest

PART = re.compile(r"\{(\w+)\}")
ROOMS = ("protocol", "transport", "clients", "endpoints", "service", "model_server", "rest_gateway")
PATHS = (
    "/nothing", "/api/nothing", "/reports/nothing", "/api/predictions/01a20788-d89f-7174-a1f0-c3dffd4b916c",
    "/api/predictions?limit=x", "/api/predictions?state=x", "/api/predictions?since=x", "/api/predictions?cursor=x",
    "/api/predictions?colour=red",
)  # fmt: skip


@pytest.fixture(scope="module")
def sentences(root):
    """English to Korean, as the page has them."""
    text = (root / "rest_gateway/page/static/lang/sentences.js").read_text()
    found = dict(re.findall(r'^  "(.+)": "(.+)",$', text, flags=re.MULTILINE))
    assert len(found) == text.count('": "')
    return found


def texts(root):
    """Every string of the services' sources, `{}` where an f-string has a value."""
    for room in ROOMS:
        for path in (root / room).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    yield node.value
                elif isinstance(node, ast.JoinedStr):
                    yield "".join(part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)


def test_each_sentence_is_one_that_a_service_says(root, sentences):
    """A sentence that was reworded in the sources is noticed here, before a reader meets half of it in English."""
    said = {text for text in texts(root) if "\n" not in text}
    patterns = {english: re.compile(".+?".join(map(re.escape, re.split(r"\{\w+\}", english)))) for english in sentences}
    assert [english for english, pattern in patterns.items() if not any(pattern.fullmatch(text) for text in said)] == []


def test_both_languages_have_the_same_parts(sentences):
    """No value that a sentence names is lost in the other language, except what a place is called."""
    different = {
        english
        for english, korean in sentences.items()
        if sorted(PART.findall(english)) != sorted(PART.findall(korean))
    }
    assert different == {"no {what} is free: all {places} are in use"}


@pytest.mark.browser
def test_problems_are_said_in_korean(browser, stack):
    """On each page that a wrong address or a wrong query leads to, the reason is a Korean sentence."""
    context = browser.new_context(locale="ko-KR")
    try:
        page = context.new_page()
        for path in PATHS:
            page.goto(stack.gateway_url + path)
            page.wait_for_selector("body[data-ready]")
            said = page.locator(".said")
            assert said.get_attribute("lang") is None, said.inner_text()
            assert re.search("[가-힣]", said.inner_text())
    finally:
        context.close()
