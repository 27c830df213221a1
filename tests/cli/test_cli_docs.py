"""docs/cli.md says what the program does."""

import re
from pathlib import Path
from typing import get_args

from enginecrate.cli.exit_codes import BROKEN_PIPE, EXIT_CODES, INTERRUPTED, SUCCESS
from enginecrate.errors import Kind

PAGE = (Path(__file__).parents[2] / "docs" / "cli.md").read_text(encoding="utf-8")


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


def test_every_command_in_the_page_is_understood(run):
    for line in re.findall(r"(?m)^enginecrate (.*?)(?: +#.*| [|>].*)?$", PAGE):
        words = line.split()
        if words[0].startswith("--"):
            continue
        depth = 2 if words[0] in ("golden", "manifest") else 1
        known = run(*words[:depth], "--help").out
        for word in words:
            assert not word.startswith("-") or word in known, line
