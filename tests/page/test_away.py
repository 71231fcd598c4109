"""The page when the model server is away: it counts who answered, says why the others did not, and recovers by itself."""

from __future__ import annotations

import pytest

from crossover.stack.services import running

pytestmark = pytest.mark.browser
REASONS = {"en-US": "503 UNAVAILABLE", "ko-KR": "에 연결할 수 없습니다"}
SUMMARY = {"en-US": "1 of 4 answered: 3.", "ko-KR": "4개 중 1개가 답했습니다: 3."}


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """A stack of our own whose model server is stopped and continued."""
    environment = {
        "DATA_DIR": str(tmp_path_factory.mktemp("away")), "GATEWAY_UPSTREAM_HEADER": "1", "GATEWAY_TIMING": "1",
    }  # fmt: skip
    with running(environment) as stack:
        yield stack


@pytest.fixture
def page_of(browser, stopped):
    contexts = []

    def open_it(locale):
        context = browser.new_context(locale=locale, reduced_motion="reduce", viewport={"width": 1280, "height": 900})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(120_000)
        page.goto(stopped.gateway_url)
        page.wait_for_selector("body[data-ready]")
        page.wait_for_selector('#first[aria-busy="false"]')
        return page

    yield open_it
    for context in contexts:
        context.close()


def test_a_gateway_that_restarts_while_the_page_loads_is_asked_again(browser, stopped):
    """The first thing that the page reads of it may find nobody: the page says so and begins when it answers."""
    context = browser.new_context(locale="en-US", reduced_motion="reduce")
    left = [True]
    try:
        page = context.new_page()
        page.set_default_timeout(120_000)
        page.route("**/page/gateway.json", lambda route: route.abort() if left and left.pop() else route.continue_())
        page.goto(stopped.gateway_url)
        page.wait_for_function("document.querySelector('#away').textContent.startsWith('The gateway does not answer')")
        page.wait_for_selector("body[data-ready]")
        page.wait_for_selector('#first[aria-busy="false"]')
        assert page.inner_text("#agreement") == "All 4 upstreams answer 3."
        assert page.locator("#away").is_hidden()
    finally:
        context.close()


def test_it_says_so_and_recovers(page_of, stopped, violations):
    """From a page that was opened while the service is away: counted, explained in its language, and answered when it is back.

    A measurement says why there is none, and axe finds nothing on what is shown.
    """
    stopped.model_server.kill()
    pages = {locale: page_of(locale) for locale in REASONS}
    for locale, page in pages.items():
        summary = page.inner_text("#agreement")
        assert summary.startswith(SUMMARY[locale]) and REASONS[locale] in summary
        page.wait_for_selector("#away:not([hidden])")
        assert page.locator("#board .failed .median").all_inner_texts() == ["503 UNAVAILABLE"] * 3
        page.click("#start")
        page.wait_for_selector('#race[data-phase="failed"]')
        assert REASONS[locale] in page.inner_text("#headline-of-race")
        assert violations(page) == {}
    stopped.model_server = stopped.start_model_server()
    for page in pages.values():
        page.wait_for_selector("#away", state="hidden")
        page.wait_for_function("() => document.querySelectorAll('#board li circle').length === 60")
