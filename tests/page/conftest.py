"""A real stack and a real Chromium; what the console says during a test is kept."""

from __future__ import annotations

import itertools

import pytest

from crossover.stack.services import running


@pytest.fixture(scope="session")
def stack(tmp_path_factory):
    environment = {
        "DATA_DIR": str(tmp_path_factory.mktemp("predictions")),
        "GATEWAY_UPSTREAM_HEADER": "1",
        "GATEWAY_TIMING": "1",
    }
    with running(environment) as started:
        yield started


@pytest.fixture
def open_page(browser, stack):
    """Open the page with Playwright's context options and wait for its answers; no race, unless motion is wanted.

    After the test nothing may stand in any console.
    """
    contexts, said = [], []

    def open_it(path="/", **options):
        usual = {"locale": "en-US", "viewport": {"width": 1280, "height": 900}, "reduced_motion": "reduce"}
        context = browser.new_context(**{**usual, **options})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.on("console", lambda message: said.append(message.text) if message.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto(f"{stack.gateway_url}{path}")
        if path.partition("?")[0] == "/":
            page.wait_for_selector("body[data-ready]")
            page.wait_for_selector('#first[aria-busy="false"]')
        return page

    yield open_it
    for context in contexts:
        context.close()
    assert said == []


@pytest.fixture
def draw():
    """Draw strokes, in hundredths of the canvas, with the mouse."""

    def draw_it(page, strokes):
        page.click("#clear")
        page.locator("#canvas").scroll_into_view_if_needed()
        box = page.locator("#canvas").bounding_box()
        place = {"x": box["x"], "y": box["y"], "side": box["width"] / 100}
        for stroke in strokes:
            points = [(place["x"] + x * place["side"], place["y"] + y * place["side"]) for x, y in stroke]
            page.mouse.move(*points[0])
            page.mouse.down()
            for point in itertools.islice(points, 1, None):
                page.mouse.move(*point)
            page.mouse.up()

    return draw_it


@pytest.fixture(scope="module")
def violations():
    """What axe-core finds on a page, by rule."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()

    def found(page):
        return {
            rule["id"]: [node["html"][:200] for node in rule["nodes"]] for rule in axe.run(page).response["violations"]
        }

    return found
