"""axe-core finds nothing on any page, in both languages and schemes, wide and narrow; and a walk with the keyboard alone."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from crossover.comparison.analysis.whole import Analysis
from crossover.comparison.design import samples
from crossover.comparison.report import page as report
from crossover.comparison.report import words

sys.path.insert(0, str(Path(__file__).parents[1] / "comparison"))
import synthetic

pytestmark = pytest.mark.browser
RESULT = "rest-binary/65536:grpc:1.9:1.8:2.1,65536:grpc-lean:1.05:0.97:1.2,256:grpc:0.5:0.4:0.6"
WIDE, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}


@pytest.mark.parametrize(("locale", "scheme", "viewport"), [("en-US", "light", WIDE), ("ko-KR", "dark", PHONE)])
def test_axe_finds_nothing_on_the_page(open_page, violations, locale, scheme, viewport):
    """With a result and every part opened: answers, exchanges, upstreams."""
    page = open_page(f"/?result={RESULT}", locale=locale, color_scheme=scheme, viewport=viewport)
    for summary in page.locator("main > section > details > summary").all():
        summary.click()
    assert violations(page) == {}


@pytest.mark.parametrize(
    ("path", "locale", "scheme"), [("/api/predictions", "en-US", "light"), ("/nothing", "ko-KR", "dark")]
)
def test_axe_finds_nothing_on_pages_of_the_api(browser, stack, violations, path, locale, scheme):
    """The list of predictions, and a problem."""
    context = browser.new_context(locale=locale, color_scheme=scheme)
    try:
        page = context.new_page()
        page.goto(f"{stack.gateway_url}{path}")
        page.wait_for_selector("body[data-ready]")
        assert violations(page) == {}
    finally:
        context.close()


@pytest.mark.parametrize(("scheme", "viewport"), [("light", WIDE), ("dark", PHONE)])
def test_axe_finds_nothing_on_the_reference(open_page, violations, scheme, viewport):
    """Swagger UI at /docs, with an operation opened."""
    page = open_page("/docs", color_scheme=scheme, viewport=viewport)
    page.locator(".opblock-summary-control").first.click()
    page.locator(".opblock.is-open pre.microlight").first.wait_for()
    assert violations(page) == {}


@pytest.fixture(scope="module")
def report_file(tmp_path_factory):
    folder = synthetic.write(tmp_path_factory.mktemp("run"))
    analysis = Analysis(samples.read(folder))
    summary = {**analysis.summary(), "complete": True, "stopped": ""}
    summary["not_measured"] = words.not_measured(summary)
    path = folder / "report.html"
    path.write_text(report.html(summary, analysis, {}))
    return path


@pytest.mark.slow
def test_a_report_opens_offline_in_both_languages(browser, violations, report_file):
    """From a file, without a script: axe finds nothing, nothing is wider than a phone, and the switch changes every sentence.

    A picture is one thing with a label for it: its lines, thousands of them, are left out.
    """
    for scheme, viewport in (("light", WIDE), ("dark", PHONE)):
        context = browser.new_context(color_scheme=scheme, viewport=viewport, offline=True, java_script_enabled=True)
        try:
            page = context.new_page()
            page.goto(report_file.as_uri())
            english = page.inner_text("main")
            page.locator("#ko").focus()
            page.keyboard.press("Space")
            korean = page.inner_text("main")
            assert "In detail" in english
            assert "자세히" in korean
            assert "In detail" not in korean
            assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
            assert page.locator("figure .wide svg").first.is_visible() == (viewport is WIDE)
            page.evaluate("document.querySelectorAll('figure svg').forEach((picture) => picture.replaceChildren())")
            assert violations(page) == {}
        finally:
            context.close()


def test_a_walk_with_the_keyboard_alone(open_page):
    """Draw, ask, open an exchange, move the payload and choose a language without a mouse; the focus is never on nothing."""
    page = open_page()

    def tab_to(selector):
        for _ in range(120):
            page.keyboard.press("Tab")
            assert page.evaluate("document.activeElement !== document.body"), selector
            if page.evaluate(f"document.activeElement.matches({selector!r})"):
                return
        raise AssertionError(f"Tab does not reach {selector}")

    tab_to('[data-language="ko"]')
    page.keyboard.press("Enter")
    assert page.evaluate("document.documentElement.lang") == "ko"
    tab_to("#canvas")
    page.keyboard.press("Space")
    for _ in range(12):
        page.keyboard.press("ArrowDown")
    page.keyboard.press("Space")
    tab_to("#ask")
    page.keyboard.press("Enter")
    page.wait_for_selector('#first[aria-busy="false"]')
    assert page.evaluate("document.activeElement.id") == "ask"
    tab_to('input[name="payload"]')
    before = page.inner_text("#payload-value")
    page.keyboard.press("ArrowLeft")
    page.wait_for_function(f"document.querySelector('#payload-value').textContent !== {before!r}")
    assert "payload=" in page.evaluate("location.search"), "a reload while it measures would lose the payload"
    page.wait_for_selector('#race[data-phase="idle"], #race[data-phase="done"]')
    tab_to("#save-picture")
    tab_to("#answers details summary")
    page.keyboard.press("Enter")
    page.wait_for_selector("#answers details[open] h4")
