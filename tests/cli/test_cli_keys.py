import array
import errno
import fcntl
import json
import os
import stat
import termios
import threading
from pathlib import Path

import pytest

PASSPHRASE = "correct horse"


@pytest.fixture(autouse=True)
def _passphrase(monkeypatch):
    monkeypatch.setenv("ENGINECRATE_KEY_PASSPHRASE", PASSPHRASE)


@pytest.fixture
def made(run, tmp_path):
    assert run("keys", "new", tmp_path / "isv").code == 0
    return tmp_path / "isv"


def test_a_new_pair(run, tmp_path):
    outcome = run("keys", "new", tmp_path / "deep" / "isv", "--json")
    answer = json.loads(outcome.out)
    assert outcome.code == 0
    assert stat.S_IMODE(Path(answer["private"]).stat().st_mode) == 0o600
    shown = json.loads(run("keys", "show", answer["public"], "--json").out)
    assert shown["id"] == answer["id"]
    assert shown["public_key"] == (tmp_path / "deep" / "isv.pub").read_text()
    assert PASSPHRASE not in outcome.out + outcome.err


def test_nothing_is_overwritten(run, made):
    again = run("keys", "new", made)
    assert again.code == 4
    assert "is there already" in again.err


def test_the_private_half_shows_its_public_one(run, made, monkeypatch):
    shown = run("keys", "show", f"{made}.key")
    assert shown.code == 0
    assert (made.parent / "isv.pub").read_text() in shown.out
    monkeypatch.setenv("ENGINECRATE_KEY_PASSPHRASE", "wrong")
    wrong = run("keys", "show", f"{made}.key")
    assert wrong.code == 10
    assert "EC1902" in wrong.err


def test_passphrases_from_a_file_and_a_descriptor(run, tmp_path, monkeypatch):
    monkeypatch.delenv("ENGINECRATE_KEY_PASSPHRASE")
    secret = tmp_path / "secret"
    secret.write_text("from a file\n")
    assert run("keys", "new", tmp_path / "isv", "--passphrase-file", secret).code == 0
    reader, writer = os.pipe()
    os.write(writer, b"from a file\nsecond line\n")
    os.close(writer)
    assert run("keys", "show", tmp_path / "isv.key", "--passphrase-fd", reader).code == 0
    os.close(reader)
    both = run("keys", "new", tmp_path / "b", "--passphrase-file", secret, "--passphrase-fd", 0)
    assert "exclude each other" in both.err
    missing = run("keys", "new", tmp_path / "b", "--passphrase-file", tmp_path / "none")
    assert (missing.code, "No such file" in missing.err) == (3, True)
    (tmp_path / "empty").write_text("\n")
    empty = run("keys", "new", tmp_path / "b", "--passphrase-file", tmp_path / "empty")
    assert "the passphrase is empty" in empty.err


def test_a_passphrase_that_comes_in_parts_is_read_whole(run, tmp_path):
    """The second part is written when the first one has been read."""
    reader, writer = os.pipe()

    def write() -> None:
        os.write(writer, b"corr")
        waiting = array.array("i", [1])
        while waiting[0]:
            fcntl.ioctl(reader, termios.FIONREAD, waiting)
        os.write(writer, b"ect horse\nsecond line\n")

    thread = threading.Thread(target=write)
    thread.start()
    assert run("keys", "new", tmp_path / "isv", "--passphrase-fd", reader).code == 0
    thread.join()
    os.close(writer)
    os.close(reader)
    assert run("keys", "show", tmp_path / "isv.key").code == 0  # with that of the fixture


def test_a_passphrase_without_end(run, tmp_path):
    (tmp_path / "wrong").write_bytes(b"x" * 5000)
    outcome = run("keys", "new", tmp_path / "isv", "--passphrase-file", tmp_path / "wrong")
    assert (outcome.code, "longer than 4096 bytes" in outcome.err) == (2, True)


def test_no_terminal_to_ask_on(program, tmp_path):
    outcome = program("keys", "new", tmp_path / "isv")
    assert outcome.code == 0  # the variable of the fixture
    env = {"ENGINECRATE_KEY_PASSPHRASE": ""}
    assert "the passphrase is empty" in program("keys", "new", tmp_path / "two", **env).err


def test_a_trust_file_through_its_life(run, made):
    run("keys", "new", "next")
    assert run("keys", "trust", f"{made}.pub", "--name", "2025").code == 0
    assert run("keys", "trust", "next.pub", "--from", "2.0.0").code == 0
    assert run("keys", "retire", "2025", "--until", "1.9.0").code == 0
    shown = run("keys", "show", "keys.toml").out
    assert "2025  sha256:" in shown
    assert "until 1.9.0" in shown
    assert "from 2.0.0" in shown
    listed = json.loads(run("keys", "show", "keys.toml", "--json").out)["keys"]
    assert [one["name"] for one in listed] == ["2025", "next"]
    short = listed[1]["id"][:19]
    assert run("keys", "revoke", short, "--reason", "left in a taxi").code == 0
    assert "REVOKED: left in a taxi" in run("keys", "show", "keys.toml").out


def test_changes_of_the_trust_file_for_scripts(run, made):
    words = {
        "trust": (f"{made}.pub", "--name", "2025"),
        "retire": ("2025", "--until", "1.9.0"),
        "revoke": ("2025", "--reason", "laptop stolen"),
    }
    seen = {}
    for verb, more in words.items():
        done = run("keys", verb, *more, "--json")
        assert done.code == 0
        seen[verb] = json.loads(done.out)
        assert seen[verb]["trust"] == "keys.toml"
    listed = json.loads(run("keys", "show", "keys.toml", "--json").out)["keys"]
    assert seen["revoke"]["key"] == listed[0]
    assert seen["trust"]["key"]["valid_until"] == ""
    assert seen["retire"]["key"]["valid_until"] == "1.9.0"
    assert seen["revoke"]["key"]["revoked"] == "laptop stolen"
    refused = json.loads(run("keys", "retire", "none", "--until", "1.9.0", "--json").out)
    assert refused["error"]["kind"] == "not_found"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("trust", "{isv}.pub"), "has the key 'isv'"),
        (("trust", "{isv}.key"), "a private one"),
        (("trust", "{isv}.pub", "--from", "latest"), "has the key"),
        (("retire", "isv", "--until", "soon"), "is not a version"),
        (("retire", "isv", "--until", "1.2.0+b1"), "'1.2.0+b1' is not a version"),
        (("retire", "isv", "--until", " 1.9.0"), "' 1.9.0' is not a version"),
        (("retire", "nobody", "--until", "1.0.0"), "has not one key 'nobody'; its keys: 'isv'"),
        (("revoke", "isv", "--reason", " "), "--reason is empty"),
        (("show", "missing.toml"), "cannot read the trust file"),
    ],
)
def test_mistakes(run, made, words, said):
    run("keys", "trust", f"{made}.pub")
    outcome = run("keys", *(word.format(isv=made) for word in words))
    conflict, missing = "has the key" in said, said.startswith(("has not one key", "cannot read"))
    assert outcome.code == (4 if conflict else 3 if missing else 2)
    assert said in outcome.err


@pytest.mark.parametrize("name", ["", ".", "..", "/"])
def test_a_path_that_is_no_name(run, name, tmp_path, monkeypatch):
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    outcome = run("keys", "new", name)
    assert outcome.code == 2
    assert "is no name for a key" in outcome.err
    assert not list((tmp_path / "empty").iterdir())


def test_a_name_that_is_too_long(run, tmp_path):
    outcome = run("keys", "new", tmp_path / ("x" * 300))
    assert outcome.code == 6
    assert "File name too long" in outcome.err


def test_half_a_pair_is_not_left(run, tmp_path, monkeypatch):
    """The disk is full once the private half is written."""
    real = os.fsync

    def full(descriptor: int) -> None:
        if Path(f"/proc/self/fd/{descriptor}").readlink().suffix == ".pub":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    outcome = run("keys", "new", tmp_path / "keys" / "isv")
    assert outcome.code == 6
    assert "No space left" in outcome.err
    assert not list((tmp_path / "keys").iterdir())


def test_a_public_key_does_not_sign(run, made):
    outcome = run("release", "sign", "nowhere", "--first", "--key", f"{made}.pub")
    assert "is a public key, which cannot sign" in outcome.err


def test_a_trust_file_below_a_file(run, made, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    outcome = run("keys", "trust", f"{made}.pub", "--trust", tmp_path / "file" / "keys.toml")
    assert outcome.code == 6
    assert "cannot write" in outcome.err


def test_a_link_where_the_trust_file_is_prepared(run, made, tmp_path):
    """Whoever may write the folder does not choose what is overwritten."""
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (tmp_path / ".keys.toml.partial").symlink_to(victim)
    assert run("keys", "trust", f"{made}.pub", "--trust", tmp_path / "keys.toml").code == 0
    assert victim.read_text() == "mine"
