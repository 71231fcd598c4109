"""`/docs` works with the network off: every file of it comes from the gateway, and the policy forbids all others."""

from __future__ import annotations

import re

import pytest


def test_every_file_of_the_page_is_served_here(gateway):
    """No address of another host in it, and each of its own files is there."""
    page = gateway("GET", "/docs")
    assert page.status == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    files = re.findall(r'(?:src|href)="(/[^"]+)"', page.body.decode())
    assert sorted(files) == [
        "/api/predictions", "/page/icon.svg", "/static/docs.css", "/static/docs.js",
        "/static/vendor/swagger-ui/swagger-ui-bundle.js", "/static/vendor/swagger-ui/swagger-ui.css",
    ]  # fmt: skip
    assert "//" not in page.body.decode()
    for file in files:
        assert gateway("GET", file).status == 200


def test_the_policy_allows_nothing_from_elsewhere(gateway):
    """Scripts come from files of this host alone; nothing runs inline."""
    policy = dict(
        part.strip().split(" ", 1) for part in gateway("GET", "/docs").headers["content-security-policy"].split(";")
    )
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == "'self'"
    assert not [source for source in policy.values() if "http" in source or "*" in source]


@pytest.mark.browser
def test_in_a_browser_it_shows_every_operation_and_runs_one(stack, browser):
    """Chromium with nothing but the gateway to talk to: no error in the console, and `Try it out` gets a real answer."""
    page = browser.new_page()
    complaints, elsewhere = [], []
    page.on("console", lambda message: message.type == "error" and complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on(
        "request",
        lambda request: request.url.startswith((stack.gateway_url, "data:")) or elsewhere.append(request.url),
    )
    page.goto(f"{stack.gateway_url}/docs")
    infer = page.locator(".opblock", has=page.get_by_text("Run the model", exact=True)).first
    infer.wait_for(timeout=30_000)
    assert page.locator(".opblock").count() > 30
    infer.locator(".opblock-summary-control").click()
    infer.get_by_role("button", name="Try it out").click()
    infer.get_by_role("button", name="Execute").click()
    reply = infer.locator(".live-responses-table")
    reply.wait_for(timeout=30_000)
    assert '"probabilities"' in reply.inner_text()
    page.close()
    assert complaints == []
    assert elsewhere == []


@pytest.mark.parametrize(("method", "path", "status", "code"), [
    ("GET", "/nothing-here", 404, "NOT_FOUND"),
    ("DELETE", "/docs", 405, "METHOD_NOT_ALLOWED"),
    ("GET", "/static/../app.py", 404, "NOT_FOUND"),
    ("GET", "/static/%2e%2e/app.py", 404, "NOT_FOUND"),
])  # fmt: skip
def test_what_nobody_serves_has_the_form_of_every_error(gateway, method, path, status, code):
    """One sentence and a code, also beside the protocol's own paths."""
    reply = gateway(method, path)
    assert (reply.status, reply.json()["code"]) == (status, code)
    assert reply.headers["content-type"] == "application/json"
    assert "detail" not in reply.json()
