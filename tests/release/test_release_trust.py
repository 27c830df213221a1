"""The trust file: rotation, revocation, and what it refuses."""

import msgspec
import pytest

from enginecrate.errors import InputUnreadable, KeyInvalid
from enginecrate.release.keys.keys import make_key
from enginecrate.release.keys.trust_file import (
    Trust,
    TrustedKey,
    load_trust,
    render_trust,
    save_trust,
    version_key,
)
from tiny_release import KEY, OTHER_KEY

OLD = TrustedKey(key=KEY.public, name="release 2025", valid_until="1.9.0")
NEW = TrustedKey(key=OTHER_KEY.public, name='release "2026" ü', valid_from="1.9.0")
LOST = TrustedKey(key=make_key().public, name="lost", revoked="left in a taxi")


def test_what_is_written_is_read(tmp_path):
    path = tmp_path / "folder" / "keys.toml"
    save_trust(path, [OLD, NEW, LOST])
    assert load_trust(path) == (OLD, NEW, LOST)
    assert render_trust(load_trust(path)) == path.read_bytes()
    assert [one.name for one in path.parent.iterdir()] == ["keys.toml"]


@pytest.mark.parametrize(
    "change",
    [
        {"valid_until": "1.2.0+b1"}, {"valid_from": " 1.9.0"}, {"valid_from": "1.9.0\n"},
        {"valid_from": "\uff11.0.0"}, {"name": "del\x7f"}, {"name": "half \ud800"},
        {"revoked": "x" * (1 << 20)},
    ],
)  # fmt: skip
def test_what_nobody_could_read_is_not_written(tmp_path, change):
    path = tmp_path / "keys.toml"
    save_trust(path, [NEW])
    before = path.read_bytes()
    with pytest.raises(KeyInvalid, match="is left as it is"):
        save_trust(path, [NEW, msgspec.structs.replace(OLD, **change)])
    assert path.read_bytes() == before
    assert [one.name for one in tmp_path.iterdir()] == ["keys.toml"]


@pytest.mark.parametrize(
    ("key", "version", "words"),
    [
        (OLD, "1.9.0", ""), (OLD, "1.9.1", "valid until"), (NEW, "1.9.0", ""),
        (NEW, "1.9.0-rc.1", "valid from"), (NEW, "10.0.0", ""), (OLD, "", "this has none"),
        (OLD, "latest", "this has none"), (LOST, "1.0.0", "is revoked: left in a taxi"),
    ],
)  # fmt: skip
def test_objections(key, version, words):
    assert words in key.objection(version)
    assert bool(key.objection(version)) == bool(words)


def test_the_order_of_versions_is_that_of_the_standard():
    """The example of Semantic Versioning 2.0.0, section 11."""
    text = "1.0.0-alpha 1.0.0-alpha.1 1.0.0-alpha.beta 1.0.0-beta 1.0.0-beta.2 1.0.0-beta.11"
    ordered = [*text.split(), *["1.0.0-rc.1", "1.0.0", "1.0.1", "1.2.0", "1.10.0", "2.0.0"]]
    assert sorted(set(ordered), key=version_key) == ordered
    assert version_key("1.0.0+one") == version_key("1.0.0+two")
    for bad in ("", "1", "1.2", "1.2.3.4", "a.b.c", "v1.2.3", "-1.2.3"):
        with pytest.raises(ValueError, match=r"."):
            version_key(bad)


def test_keys_that_were_given_and_keys_of_the_file():
    trust = Trust.of([("isv", LOST.key), ("other", KEY.public)], file=[LOST], require=1)
    assert [(one.name, one.revoked) for one in trust.keys] == [
        ("lost", "left in a taxi"),
        ("other", ""),
    ]
    with pytest.raises(KeyInvalid, match="--require 2 cannot be met: 1 keys"):
        Trust.of([("other", KEY.public)], file=[LOST], require=2)
    with pytest.raises(KeyInvalid, match="no key to verify with"):
        Trust.of([], require=1)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", "not a trust file"),
        (b"\xff", "not a trust file"),
        (b"format = 2\n", "has format 2"),
        (b"format = 1\nkey = 1\n", "not a trust file"),
        (b"a = " + b"[" * 5000, "not a trust file"),
        (render_trust([OLD]).replace(b'until = "1.9.0"', b'until = "1.9"'), "not a trust file"),
        (render_trust([OLD]).replace(OLD.key.id.encode(), b"sha256:" + b"0" * 64), "has the id"),
        (render_trust([OLD]).replace(b"BEGIN PUBLIC", b"BEGIN PRIVATE"), "not a public key"),
        (render_trust([LOST, TrustedKey(key=LOST.key, name="again")]), "twice"),
    ],
)
def test_files_that_are_refused(tmp_path, text, words):
    path = tmp_path / "keys.toml"
    path.write_bytes(text)
    with pytest.raises(KeyInvalid, match=words):
        load_trust(path)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(InputUnreadable, match="enginecrate keys trust"):
        load_trust(tmp_path / "keys.toml")
