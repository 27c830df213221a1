"""Where a project comes from: the commit of its repository, and the time that images carry.

The same commit, or the same variable, gives the same answer on every machine and at any time.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from enginecrate.errors import SettingInvalid

__all__ = ["Origin", "find_origin"]

_EPOCH = "SOURCE_DATE_EPOCH"
_SECONDS = 20

# Nothing that the repository itself configures may run a program.
_GIT = (
    "git",
    "-c",
    "core.fsmonitor=false",
    "-c",
    "core.hooksPath=/dev/null",
    "--no-optional-locks",
)


@dataclass(frozen=True, slots=True)
class Origin:
    """revision: a git commit, or empty. created: RFC 3339, UTC."""

    revision: str
    created: str


def find_origin(root: Path, environment: Mapping[str, str], revision: str = "") -> Origin:
    """The origin of the project in `root`.

    created: the variable SOURCE_DATE_EPOCH; without it the time of the commit; without that the
    beginning of 1970, which says that nobody knows.

    Args:
        root: the project folder.
        environment: of the process.
        revision: given by the user; else the commit of the repository, if everything in the
            project folder is committed.

    Raises:
        SettingInvalid: SOURCE_DATE_EPOCH is not a number of seconds.
    """
    commit = "" if revision else _clean_commit(root)
    if environment.get(_EPOCH):
        seconds = _seconds(environment[_EPOCH])
    else:
        seconds = (
            int(_git(root, "show", "--no-patch", "--format=%ct", commit) or 0) if commit else 0
        )
    created = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return Origin(revision or commit, created)


def _seconds(text: str) -> int:
    try:
        seconds = int(text)
        datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        raise SettingInvalid(
            f"{_EPOCH} must be a number of seconds since 1970, found {text!r}"
        ) from None
    return seconds


def _clean_commit(root: Path) -> str:
    """The commit that the folder's files are from; empty when they are from none."""
    if _git(root, "status", "--porcelain", "--untracked-files=normal", "--", ".") != "":
        return ""
    # A folder that the repository ignores is clean, too, and is from no commit.
    if not _git(root, "ls-files", "--", "enginecrate.toml"):
        return ""
    return _git(root, "rev-parse", "--verify", "HEAD") or ""


def _git(root: Path, *words: str) -> str | None:
    """What git prints; `None` when there is no git, no repository, or not one of this user."""
    try:
        done = subprocess.run(  # noqa: S603 -- fixed arguments
            [*_GIT, "-C", str(root), *words],
            capture_output=True, text=True, timeout=_SECONDS, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
