"""docs/cli.md says what the program does."""

import re
from pathlib import Path
from typing import get_args

import pytest

from enginecrate.cli.shared.exit_codes import BROKEN_PIPE, EXIT_CODES, INTERRUPTED, SUCCESS
from enginecrate.errors import Kind

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "README.zh-CN.md", *sorted((ROOT / "docs").glob("*.md"))]
PAGE = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")


def test_every_kind_has_an_exit_code_of_its_own():
    assert set(EXIT_CODES) == set(get_args(Kind))
    assert len(set(EXIT_CODES.values())) == len(EXIT_CODES)


def test_the_table_of_exit_codes():
    rows = re.findall(r"(?m)^\| (\d+) \| (?:`(\w+)` )?\|", PAGE)
    documented = {(int(code), kind) for code, kind in rows}
    expected = {(code, kind) for kind, code in EXIT_CODES.items()}
    assert documented == expected | {(SUCCESS, ""), (INTERRUPTED, ""), (BROKEN_PIPE, "")}


def test_every_verb_is_in_the_page(run):
    listed = run("--help").out.split("Commands:\n")[1]
    for verb in re.findall(r"(?m)^  (\w+) ", listed):
        assert f"## {verb}\n" in PAGE


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_in_the_pages_is_understood(run, page: Path):
    text = page.read_text(encoding="utf-8")
    for line in re.findall(r"(?m)^enginecrate (.*?)(?: +#.*| [|>].*)?$", text):
        words = line.split()
        if words[0].startswith("--"):
            continue
        depth = 2 if "Commands:" in run(words[0], "--help").out else 1
        shown = run(*words[:depth], "--help")
        assert shown.code == 0, line
        for word in words:
            assert not word.startswith("-") or word in shown.out, line
