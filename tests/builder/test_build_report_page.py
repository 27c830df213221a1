"""The report in a real browser: every way of looking at it, and nothing that it asks for."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from outlier_project import make_outlier_project
from playwright.sync_api import Browser, Page

from browsers import running_browser
from enginecrate.builder.project.overrides import select
from enginecrate.builder.run import run_build
from tiny_project import settings

CONTRAST = """() => {
  const channels = text => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(v => v / 255)
    .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const paper = element => {
    for (; element; element = element.parentElement) {
      const found = channels(getComputedStyle(element).backgroundColor);
      if (found.length < 4 || found[3] > 0) return found;
    }
    return [255, 255, 255];
  };
  let least = [99, ''];
  for (const element of document.querySelectorAll('main *, header *')) {
    const own = [...element.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
    if (!own || element.closest('svg')) continue;
    const one = light(channels(getComputedStyle(element).color)), two = light(paper(element));
    const ratio = (Math.max(one, two) + 0.05) / (Math.min(one, two) + 0.05);
    if (ratio < least[0]) least = [ratio, element.outerHTML.slice(0, 80)];
  }
  return least;
}"""
"""The least contrast of any text (WCAG 2.2, "contrast ratio")."""


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of many targets, one of which gave some of its layers up."""
    base = tmp_path_factory.mktemp("page")
    at = settings(base / "cache")
    root = make_outlier_project(base / "drowned", at)
    chosen = partial(
        select,
        stacks=["trtrtx17-cuda130", "trt1016-cuda130"],
        gpus=["T4", "L4", "H100"],
        precisions=["int8", "fp32"],
    )
    run_build(root, at, select=chosen)
    return root / "build" / "report.html"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with running_browser() as browser:
        yield browser


def opened(browser: Browser, report: Path, width: int = 1280, scheme: str = "light") -> Page:
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page.goto(report.as_uri())
    return page


@pytest.mark.parametrize("width", [360, 768, 1280])
def test_nothing_is_wider_than_the_window(browser: Browser, report: Path, width: int):
    page = opened(browser, report, width)
    page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_stands_out_from_its_background(browser: Browser, report: Path, scheme: str):
    page = opened(browser, report, scheme=scheme)
    page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    ratio, where = page.evaluate(CONTRAST)
    assert ratio >= 4.5, where
    page.close()


def test_it_asks_for_nothing_and_complains_about_nothing(browser: Browser, report: Path):
    page = browser.new_page()
    asked: list[str] = []
    complaints: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: complaints.append(message.text))
    page.goto(report.as_uri())
    assert [url for url in asked if not url.startswith(("data:", "file:"))] == []
    assert len([url for url in asked if url.startswith("file:")]) == 1
    assert complaints == []
    page.close()


def test_what_was_built_for_what_is_one_table(browser: Browser, report: Path):
    page = opened(browser, report)
    grid = page.locator("table.grid")
    assert grid.locator("thead th").all_inner_texts() == ["for", "int8", "fp32"]
    rows = [row.inner_text().split() for row in grid.locator("tbody tr").all()]
    assert [row[0] for row in rows] == ["sm75", "sm89", "cpu", "sm75", "sm89", "sm90", "cpu"]
    assert "simulated" in rows[1]
    assert "mixed" in rows[1]
    assert rows[3].count("not") == 2  # its backend is not installed
    page.close()


def test_every_table_and_picture_has_a_name(browser: Browser, report: Path):
    page = opened(browser, report)
    assert page.locator("table:not(:has(thead th[scope=col]))").count() == 0
    assert page.locator("img:not([alt]), svg[role=img]:not([aria-label])").count() == 0
    assert page.locator("table").count() == page.locator("[role=region][aria-label] table").count()
    assert page.locator("h1").count() == 1
    page.close()


def test_on_paper_everything_is_open(browser: Browser, report: Path):
    page = opened(browser, report, width=794)  # A4 at 96 dpi
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    hidden = page.locator("details:not([open]) dl.facts").first
    assert hidden.bounding_box()["height"] > 50
    assert len(page.pdf(format="A4")) > 10_000
    page.close()
