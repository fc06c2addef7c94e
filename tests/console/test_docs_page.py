"""The page of the HTTP API: every operation is there, and can be tried."""

import re
from typing import Any

import pytest
from support.console import Demo, Visitors, playwright, sideways

pytestmark = pytest.mark.slow


def expect(page: Any, selector: str) -> Any:
    return playwright.expect(page.locator(selector), selector)


@pytest.fixture
def docs(open_console: Visitors, demo: Demo) -> Any:
    """The page, with nobody's token."""
    page = open_console()
    page.goto(demo.url.replace("/console/", "/docs"))
    expect(page, "#loading").to_be_hidden()
    return page


def test_the_docs_show_every_operation(docs: Any) -> None:
    """Each path and method of openapi.json, with the fields of its body, as wide as the window."""
    document = docs.evaluate("fetch('openapi.json').then(answer => answer.json())")
    operations = {
        (method.upper(), path)
        for path, item in document["paths"].items()
        for method in item
        if method in ("get", "post", "put", "delete", "patch")
    }
    summaries = docs.locator(".operation > summary")
    shown = {tuple(summary.locator(".method, .path").all_text_contents()) for summary in summaries.all()}
    assert shown == operations
    docs.evaluate("for (const each of document.querySelectorAll('.operation > summary')) each.click()")
    body = docs.locator("#post-api-v1-publish .fields").first
    for name in ("channel", "event", "payload"):
        playwright.expect(body.locator(".name", has_text=re.compile(f"^{name}$")).first).to_be_visible()
    for width in (360, 1024):
        docs.set_viewport_size({"width": width, "height": 800})
        assert sideways(docs) == 0, width


def test_the_docs_try_a_request(docs: Any, open_console: Visitors, demo: Demo) -> None:
    """A request with the token typed above is answered, reaches the subscribers, and is written as a curl line
    that does not hold the token.
    """
    bearer = demo.tokens["admin"]
    listener = open_console("alice", "lab")
    listener.fill("#room", "lobby")
    listener.press("#room", "Enter")
    expect(listener, "#channels").to_contain_text("room:lobby")
    operation = docs.locator("#post-api-v1-publish")
    operation.locator("summary").first.click()
    operation.locator("textarea").fill(
        '{"channel": "room:lobby", "event": "greeting", "payload": {"it\'s": "here"}}'
    )
    operation.get_by_role("button", name="Send").click()
    playwright.expect(operation.locator(".answered .status")).to_contain_text("401")
    docs.fill("#token", bearer)
    operation.get_by_role("button", name="Send").click()
    playwright.expect(operation.locator(".answered .status")).to_contain_text("200")
    playwright.expect(operation.locator(".answered pre")).to_contain_text("offset")
    expect(listener, "#chat").to_contain_text("greeting")
    curl = operation.locator(".curl").text_content()
    assert '-H "Authorization: Bearer $TIDINGS_TOKEN"' in curl
    assert r"it'\''s" in curl
    assert bearer not in docs.content()
