"""Links between the pages lead somewhere."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [
    *sorted(ROOT.glob("*.md")),
    *sorted((ROOT / "docs").glob("*.md")),
    ROOT / "samples/README.md",
]


def headings(page: Path) -> set[str]:
    """The anchors of a page, made from its headings as forges make them."""
    found = re.findall(r"(?m)^#+ (.*)$", page.read_text(encoding="utf-8"))
    words = (re.sub(r"[^\w\- ]", "", text.lower()) for text in found)
    return {text.replace(" ", "-") for text in words}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if re.match(r"\w+:", target):
            continue
        file, _, anchor = target.partition("#")
        path = page.parent / file if file else page
        assert path.exists(), target
        assert not anchor or anchor in headings(path), target


def test_every_page_is_in_the_readme():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    missing = [
        page.name for page in (ROOT / "docs").glob("*.md") if f"docs/{page.name}" not in text
    ]
    assert not missing


@pytest.mark.parametrize("name", ["ARCHITECTURE.md", "CONTRIBUTING.md"])
def test_files_that_are_named_exist(name: str):
    text = (ROOT / name).read_text(encoding="utf-8")
    paths = re.findall(r"`((?:[\w.-]+/)+(?:[\w.-]+\.\w+)?)`", text)
    assert paths
    homes = (ROOT, ROOT / "src/enginecrate")
    generated = ("build/", ".venv")
    missing = [
        path
        for path in paths
        if not path.startswith(generated) and not any((home / path).exists() for home in homes)
    ]
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_of_the_source_that_a_page_names_exist(page: Path):
    text = page.read_text(encoding="utf-8")
    paths = re.findall(r"`((?:src|tests|benchmarks|scripts)/[\w./-]+)`", text)
    assert not [path for path in paths if not (ROOT / path).exists()]
