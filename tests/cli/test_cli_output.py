"""What goes to stdout for scripts."""

import json
from pathlib import Path

import msgspec
import pytest

from enginecrate.cli.output import print_json
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
