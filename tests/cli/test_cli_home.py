"""A user id without a name, and without HOME: CI runners, and OpenShift's containers."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from enginecrate.errors import SettingInvalid
from enginecrate.settings import load_settings
from running import PROGRAM, clean_environment
from tiny_project import make_project

UID = 12345
NAMELESS = ["unshare", "--user", f"--map-user={UID}", f"--map-group={UID}"]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """For temporary files of the user without a name."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    yield temporary
    shutil.rmtree(temporary)


def nameless(folder: Path, *words: object, **more: str) -> subprocess.CompletedProcess[str]:
    """The program as that user."""
    kept = clean_environment(TMPDIR=str(folder), **more)
    environment = {name: kept[name] for name in kept if name not in ("HOME", "XDG_CACHE_HOME")}
    environment |= {"HOME": more["HOME"]} if "HOME" in more else {}
    return subprocess.run(
        [*NAMELESS, PROGRAM, *map(str, words)],
        env=environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def test_verbs_work_without_a_home(folder: Path, tmp_path: Path):
    project = make_project(tmp_path / "colors")
    archive = tmp_path / "support.zip"
    for words in (
        ["doctor", "--http-port", "0", "--bundle", archive],
        ["build", "--project", project],
        ["lock", "--versions-only", "--project", project],
    ):
        done = nameless(folder, *words)
        assert done.returncode == 0, (words, done.stderr)
    (cache,) = folder.glob("enginecrate-*")
    assert cache.name == f"enginecrate-{UID}"
    assert cache.stat().st_mode & 0o777 == 0o700
    assert (cache / "plans").is_dir()


def test_a_home_that_is_not_there(folder: Path, tmp_path: Path):
    done = nameless(folder, "init", tmp_path / "new", HOME="/nonexistent")
    assert done.returncode == 0, done.stderr
    done = nameless(folder, "manifest", "check", "--project", tmp_path / "new", HOME="/nonexistent")
    assert done.returncode == 0, done.stderr


def test_registries_are_asked_without_a_home(folder: Path):
    done = nameless(folder, "image", "show", "localhost:1/app:v1.0.0", "--insecure", "--json")
    assert json.loads(done.stdout)["error"]["kind"] == "unavailable"


def test_a_folder_that_others_may_write_to_is_not_trusted(folder: Path):
    trap = folder / f"enginecrate-{UID}"
    trap.mkdir()
    trap.chmod(0o777)
    done = nameless(folder, "doctor", "--http-port", "0")
    assert done.returncode == 2
    assert "cache_dir" in done.stderr


def test_a_home_of_ones_own_is_never_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert load_settings(environment={}).cache_path == tmp_path / ".cache" / "enginecrate"


def test_a_tilde_needs_a_home(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr(os, "getuid", lambda: UID)
    with pytest.raises(SettingInvalid, match="begins with a home folder"):
        load_settings(environment={}, flags={"cache_dir": "~/cache"})
