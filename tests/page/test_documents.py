"""Pages at the API's own URLs: who prefers HTML gets a page with the same status, everybody else the JSON."""

from __future__ import annotations

import httpx
import pytest

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
GONE = "/api/predictions/01a20788-d89f-7174-a1f0-c3dffd4b916c"


@pytest.fixture(scope="module")
def client(stack):
    with httpx.Client(base_url=stack.gateway_url) as found:
        yield found


@pytest.fixture(scope="module")
def prediction(client):
    sample = client.get("/api/models/digits").json()["sample"]
    return client.post("/api/predictions", json={**sample, "note": "</pre><script>alert(1)</script>"}).json()


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    ("path", "status"),
    [("/api/predictions?limit=2", 200), ("/api/predictions/{id}", 200), ("/api/predictions/{id}/history", 200), (f"{GONE}/history", 404),
     (GONE, 404), ("/nothing", 404), ("/api/nothing", 404),
     ("/api/predictions?limit=x", 400), ("/reports/nothing", 404)],
)  # fmt: skip
def test_a_browser_gets_a_page(client, prediction, method, path, status):
    """The status is the document's, the page is never stored, and its policy is that of the page at `/`."""
    reply = client.request(method, path.format(id=prediction["id"]), headers={"Accept": BROWSER})
    assert (reply.status_code, reply.headers["content-type"]) == (status, "text/html; charset=utf-8")
    assert reply.headers["cache-control"] == "no-store"
    assert reply.headers["vary"] == "Accept"
    assert "script" not in reply.headers["content-security-policy"]
    assert "<script>" not in reply.text


@pytest.mark.parametrize(
    "accept", [None, "*/*", "application/json", "application/json, text/html;q=0.5", "text/*;q=0.1, */*"]
)
def test_a_program_gets_the_document(client, prediction, accept):
    """JSON as ever, with the word to caches that there is a page too; conditions still work."""
    headers = {"Accept": accept} if accept else {}
    for path in ("/api/predictions", f"/api/predictions/{prediction['id']}", GONE):
        assert client.get(path, headers=headers).headers["content-type"].endswith("json")
    reply = client.get(f"/api/predictions/{prediction['id']}", headers=headers)
    assert reply.headers["vary"] == "Accept"
    again = {**headers, "If-None-Match": reply.headers["etag"]}
    assert client.get(f"/api/predictions/{prediction['id']}", headers=again).status_code == 304
    page = client.get(f"/api/predictions/{prediction['id']}", headers={**again, "Accept": BROWSER})
    assert page.status_code == 200


@pytest.mark.browser
def test_the_pages_say_what_the_documents_say(open_page, prediction):
    """A row in the list leads to its prediction, with its answer, its note as text, and what was said."""
    page = open_page("/api/predictions?model=digits")
    page.get_by_role("link", name=prediction["id"][-12:]).click()
    page.wait_for_selector("body[data-ready]")
    text = page.inner_text("main")
    assert prediction["answer"]["label"] in text and "</pre><script>" in text and "succeeded" in text
    page.locator("details[data-upstream] summary").click()
    page.locator("details[data-upstream] h4").first.wait_for()
    page.get_by_role("link", name="History").click()
    page.wait_for_selector("body[data-ready]")
    assert page.locator("tbody tr").count() == 1
    assert "created" in page.inner_text("tbody") and prediction["answer"]["label"] in page.inner_text("tbody")


@pytest.mark.browser
@pytest.mark.parametrize("path", ["/api/predictions", "/api/predictions/{id}/history"])
def test_a_phone_shows_every_column(open_page, prediction, path):
    """At 390 pixels each value of a row is on the screen beside its column's name, and the table is still a table."""
    page = open_page(path.format(**prediction), viewport={"width": 390, "height": 844})
    page.wait_for_selector("body[data-ready]")
    names = page.locator("thead th").all_text_contents()
    cells = page.locator("tbody tr").first.locator("th, td")
    assert [cell.get_attribute("data-name") for cell in cells.all()] == names
    for cell in cells.all():
        box = cell.bounding_box()
        assert box["width"] > 0 and 0 <= box["x"] and box["x"] + box["width"] <= 390
    assert page.get_by_role("columnheader").count() == len(names)
    assert page.get_by_role("rowheader").count() == page.locator("tbody tr").count()


@pytest.mark.browser
def test_a_wrong_address_is_a_page_in_both_languages(browser, stack):
    """404 with a reason in the reader's language and a way back."""
    for locale, words in (("en-US", "not found"), ("ko-KR", "찾을 수 없습니다")):
        context = browser.new_context(locale=locale)
        page = context.new_page()
        assert page.goto(f"{stack.gateway_url}/nothing").status == 404
        page.wait_for_selector("body[data-ready]")
        assert page.inner_text("h1") == f"404: {words}"
        assert page.locator('main a[href="/"]').count() == 1
        context.close()
