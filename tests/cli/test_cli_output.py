"""The output on stdout for scripts."""

import json
from pathlib import Path

import msgspec
import pytest

from enginecrate.cli.shared.output import console, escaped, note, plain, print_error, print_json
from enginecrate.values import Digest


class Row(msgspec.Struct):
    digest: Digest
    path: Path


def test_digests_and_paths_are_text(capsysbinary: pytest.CaptureFixture[bytes]):
    digest = Digest.of(b"something")
    row = Row(digest=digest, path=Path("bäckerei/app.tar"))
    print_json({"row": row, "several": [digest], digest: 1})
    printed = capsysbinary.readouterr().out
    assert json.loads(printed.decode("utf-8")) == {
        "row": {"digest": str(digest), "path": "bäckerei/app.tar"},
        "several": [str(digest)],
        str(digest): 1,
    }


def test_what_has_no_form_in_json_is_an_error():
    with pytest.raises(NotImplementedError, match="object has no form in JSON"):
        print_json(object())


HOSTILE = "a\x1b[2J\x9b1mb\u202etxt.exe\x07 [/dim][link=http://x]\udc80"


def test_foreign_text_cannot_steer_a_terminal():
    assert plain("Größe: 5 µm, 日本") == "Größe: 5 µm, 日本"
    shown = plain(HOSTILE)
    assert shown.isprintable()
    assert shown.startswith(r"a\x1b[2J\x9b1mb\u202etxt.exe\x07")
    assert plain("two\nlines\r") == r"two\nlines\r"


def test_rich_shows_foreign_text_as_it_is(capsys: pytest.CaptureFixture[str]):
    console().print(f"[bold]{escaped(HOSTILE)}[/] :skull:", soft_wrap=True)
    assert capsys.readouterr().out == f"{plain(HOSTILE)} :skull:\n"


def test_notes_and_errors_are_plain_but_keep_their_lines(capsys: pytest.CaptureFixture[str]):
    note(f"one\n{HOSTILE}")
    print_error(f"one\n{HOSTILE}", code="EC1000", kind="internal", as_json=False)
    shown = capsys.readouterr().err
    assert shown == f"one\n{plain(HOSTILE)}\nError: one\n{plain(HOSTILE)} [EC1000]\n"
