"""The page in a real Chromium in front of a real stack."""

from __future__ import annotations

import re
import shutil

import pytest

from crossover.rest_gateway.page import HEADERS
from tests.page.strokes import DIGITS

pytestmark = pytest.mark.browser
FOUR = ["inprocess", "grpc", "rest", "rest-binary"]


def choose(page, names):
    for box in page.locator("#upstreams input").all():
        box.set_checked(box.get_attribute("value") in names)


def ask(page, names):
    """Choose the upstreams, press the button, and give what each card says."""
    choose(page, names)
    return answers(page)


def answers(page):
    page.click("#ask")
    page.wait_for_selector('#cards[aria-busy="false"]')
    page.wait_for_selector("#ask:enabled")
    return {
        card.get_attribute("data-upstream"): card.locator("output").inner_text()
        for card in page.locator("#cards .card").all()
    }


def test_drawn_digits_are_recognised(open_page, draw):
    """Of twenty drawn digits, two ways of writing each, at least sixteen are right."""
    page = open_page()
    choose(page, ["inprocess"])
    right = []
    for digit, ways in DIGITS.items():
        for strokes in ways:
            draw(page, strokes)
            if answers(page)["inprocess"] == str(digit):
                right.append(digit)
    assert len(right) >= 16, right


def test_a_drawing_keeps_its_place_and_size_to_itself(open_page, draw):
    """The same strokes drawn small in a corner and large in the middle give the model nearly the same input."""
    page = open_page()
    inputs = []
    for scale, shift in ((1, 0), (0.5, 45)):
        draw(page, [[(x * scale + shift, y * scale + shift) for x, y in stroke] for stroke in DIGITS[3][0]])
        cells = [int(text) for text in page.locator("#picture span").all_inner_texts()]
        assert len(cells) == 64 and max(cells) == 16 and min(cells) == 0
        inputs.append(cells)
    assert sum(abs(a - b) for a, b in zip(*inputs, strict=True)) < 0.1 * sum(inputs[0])


def test_a_sample_gets_the_same_answer_through_every_upstream(open_page):
    """All upstreams, also those not chosen at first, agree on a real sample; only inprocess has no message."""
    page = open_page()
    page.click("#sample")
    page.wait_for_function('() => document.querySelector("#origin").textContent.includes("it is a")')
    number = re.search(r"it is a (\d)", page.inner_text("#origin"))[1]
    names = [box.get_attribute("value") for box in page.locator("#upstreams input").all()]
    assert set(FOUR) < set(names)
    assert ask(page, names) == dict.fromkeys(names, number)
    assert page.inner_text("#agreement") == f"Every way answers {number}."
    for name in names:
        card = page.locator(f'.card[data-upstream="{name}"]')
        assert "ms" in card.locator(".latency").inner_text()
        assert card.locator(".bar i").count() >= 3
        carried = card.locator(".bytes").inner_text()
        assert carried.startswith("none") if name == "inprocess" else re.match(r"\d+ out, \d+ back", carried)


def test_the_exchange_is_shown_as_it_was(open_page):
    """HTTP with method, URI, headers, body and status; gRPC with its method, metadata, message, trailers and status."""
    page = open_page()
    page.click("#sample")
    ask(page, ["grpc", "rest-binary"])
    for name, expected in {
        "grpc": ["POST /api/predictions HTTP/1.1", "content-type: application/json", '"model": "digits"', "Status 201",
                 "POST /inference.GRPCInferenceService/ModelInfer HTTP/2", "te: trailers", "inference.ModelInferRequest",
                 "raw_input_contents", "grpc-status: 0"],
        "rest-binary": ["POST /v2/models/digits/infer HTTP/1.1", "inference-header-content-length", "Status 200"],
    }.items():  # fmt: skip
        details = page.locator(f'#exchanges details[data-upstream="{name}"]')
        details.locator("summary").click()
        details.locator("h4").nth(1).wait_for()
        text = details.inner_text()
        assert [part for part in expected if part not in text] == []


def test_a_corrected_label_appears_in_the_list(open_page):
    """The keys label what was just asked, a row's own field changes one, and the summary counts them."""
    page = open_page()
    page.click("#sample")
    ask(page, ["grpc", "rest"])
    page.get_by_role("group", name="The digit above was a").get_by_role("button", name="4").click()
    page.wait_for_selector("#recent tbody tr.wrong:nth-child(2)")
    rows = page.locator("#recent tbody tr")
    assert [rows.nth(i).locator("select").input_value() for i in range(2)] == ["4", "4"]
    before = page.inner_text("#summary")
    right = rows.nth(0).locator("td.strong").inner_text()
    rows.nth(0).locator("select").select_option(right)
    page.wait_for_selector("#recent tbody tr.right:nth-child(1)")
    assert page.inner_text("#summary") != before
    page.reload()
    page.wait_for_selector("#recent tbody tr.right:nth-child(1)")
    assert rows.nth(1).locator("select").input_value() == "4"


def test_a_race_runs_to_its_end(open_page, stack):
    """Every chosen upstream has all its requests without an error, its bytes and a median; nothing of it is kept."""
    page = open_page()
    kept = page.request.get(f"{stack.gateway_url}/api/prediction-summary").json()["total"]
    page.select_option("[name=payload]", str(1 << 14))
    page.select_option("[name=count]", "50")
    page.select_option("[name=concurrency]", "2")
    page.click("#start")
    page.wait_for_selector('#race[data-phase="done"]')
    rows = [row.locator("th, td").all_inner_texts() for row in page.locator("#race-table tbody tr").all()]
    assert [(row[0], row[1], row[5]) for row in rows] == [(name, "50", "0") for name in FOUR]
    sizes = {row[0]: int(row[6].replace(",", "")) for row in rows}
    assert sizes["inprocess"] == 0 and 2 * (1 << 14) < sizes["grpc"] < sizes["rest-binary"] < sizes["rest"]
    result = page.inner_text("#race-result")
    assert "make compare is the measurement" in result and all(name in result for name in FOUR)
    page.check("[name=measure][value=hop]")
    assert page.locator("#strips .median").count() == len(FOUR)
    assert page.request.get(f"{stack.gateway_url}/api/prediction-summary").json()["total"] == kept


def test_a_race_stops_when_told(open_page):
    """Stop ends the race before its requests are done, and the medians so far are told."""
    page = open_page()
    page.select_option("[name=count]", "2000")
    page.click("#start")
    page.wait_for_function("() => document.querySelector('#progress').value > 0.002")
    page.click("#stop")
    page.wait_for_selector('#race[data-phase="done"]')
    assert page.inner_text("#race-result").startswith("Stopped.")
    assert 0 < page.evaluate("document.querySelector('#progress').value") < 1
    assert page.is_enabled("#start") and page.is_disabled("#stop")


def test_languages_switch_and_are_remembered(open_page):
    """Korean at a press, in every part of the page, kept over a reload; a Korean browser gets it at once."""
    page = open_page()
    assert page.inner_text("h1").startswith("Between these two services")
    page.get_by_role("button", name="한국어").click()
    assert page.evaluate("document.documentElement.lang") == "ko"
    page.reload()
    page.wait_for_selector("body[data-ready]")
    assert page.inner_text("#ask") == "고른 경로에 묻기"
    left = page.evaluate(
        "[...document.querySelectorAll('[data-t]')].filter((n) => !n.textContent).map((n) => n.dataset.t)"
    )
    assert left == []
    assert open_page(locale="ko-KR").inner_text("#start") == "시작"


def test_both_language_tables_have_the_same_words(open_page):
    """Every key, and every value that a sentence takes, is in both tables."""
    page = open_page()
    tables = page.evaluate(
        "Promise.all(['en', 'ko'].map(async (name) => (await import(`/page/lang/${name}.js`)).default))"
    )
    english, korean = ({key: sorted(re.findall(r"\{\w+\}", text)) for key, text in table.items()} for table in tables)
    assert english == korean


def test_the_keyboard_draws(open_page):
    """Space lowers and lifts the pen, arrow keys move it."""
    page = open_page()
    page.focus("#canvas")
    page.keyboard.press("Space")
    for _ in range(14):
        page.keyboard.press("ArrowDown")
    page.keyboard.press("Space")
    assert ask(page, ["inprocess"])["inprocess"] in "0123456789"
    assert sum(int(text) for text in page.locator("#picture span").all_inner_texts()) > 50


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_it_whole(open_page, scheme):
    """At 390 pixels nothing makes the page wider than the screen, in light and in dark."""
    page = open_page(viewport={"width": 390, "height": 844}, color_scheme=scheme, has_touch=True)
    page.tap("#sample")
    ask(page, FOUR)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_the_policy_is_strict_and_kept(open_page, stack):
    """The page and its files carry the policy, everything comes from this host, and the docs still work."""
    page = open_page()
    hosts = page.evaluate("performance.getEntriesByType('resource').map((entry) => new URL(entry.name).origin)")
    assert set(hosts) == {stack.gateway_url}
    for path in ("/", "/page/main.js", "/page/base.css", "/page/gateway.json"):
        headers = page.request.get(stack.gateway_url + path, headers={"Accept": "text/html, */*"}).headers
        assert headers["content-security-policy"] == HEADERS["Content-Security-Policy"]
        assert headers["x-content-type-options"] == "nosniff"
    open_page("/docs").wait_for_selector(".opblock")


def test_reports_are_listed_and_open(open_page, root):
    """A run with a report is in the list and opens with its styles, but without scripts."""
    folder = root / "runs" / "test-of-the-page"
    folder.mkdir(parents=True, exist_ok=True)
    try:
        (folder / "report.html").write_text("<!doctype html><style>h1 { color: rgb(1, 2, 3) }</style><h1>Found</h1>")
        page = open_page()
        page.get_by_role("link", name="test-of-the-page").click()
        assert page.inner_text("h1") == "Found"
        assert page.evaluate("getComputedStyle(document.querySelector('h1')).color") == "rgb(1, 2, 3)"
    finally:
        shutil.rmtree(folder)
