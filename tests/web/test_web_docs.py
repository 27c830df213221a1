"""The documentation page works with this server alone."""

from __future__ import annotations

import httpx
from playwright.sync_api import Page, expect


def operations(document: dict[str, dict[str, dict[str, object]]]) -> list[tuple[str, str]]:
    return [
        (method, path)
        for path, item in document["paths"].items()
        for method in item
        if method != "parameters"
    ]


def test_every_operation_is_rendered_and_can_be_tried(page: Page, detection_url: str) -> None:
    page.route(lambda url: not url.startswith(detection_url), lambda route: route.abort())
    page.goto(f"{detection_url}/docs")
    document = httpx.get(f"{detection_url}/openapi.json").json()

    expect(page.locator(".opblock")).to_have_count(len(operations(document)))
    expect(page.locator(".info .title")).to_contain_text(document["info"]["title"])
    expect(page.locator(".info .title")).to_contain_text(document["info"]["version"])
    expect(page.locator(".errors-wrapper")).to_have_count(0)

    block = page.locator("#operations-operations-status")
    block.locator(".opblock-summary").click()
    block.locator("button.execute").click()
    expect(block.locator(".live-responses-table .response-col_status").last).to_contain_text("200")
    expect(block.locator(".request-url")).to_contain_text(f"{detection_url}/v1/status")
