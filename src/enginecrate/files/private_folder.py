"""Cache folders that belong to our user alone, so that what is in them can be trusted."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from enginecrate.errors import CacheUnusable
from enginecrate.files.atomic import write_atomic
from enginecrate.files.disk_errors import write_refused

__all__ = ["is_ours", "make_ours", "write_ours"]

_ELSEWHERE = "choose another folder with the setting cache_dir"


def is_ours(folder: Path) -> bool:
    """True when the folder is there, and only our user may write to it.

    Raises:
        CacheUnusable: it belongs to another user, others may write to it, or it cannot be seen.
    """
    try:
        found = folder.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as exc:
        raise CacheUnusable(f"cannot look into {folder}: {exc.strerror}; {_ELSEWHERE}") from exc
    if not stat.S_ISDIR(found.st_mode):
        raise CacheUnusable(f"{folder} is not a folder; move it out of the way")
    if found.st_uid != os.geteuid():
        raise CacheUnusable(
            f"{folder} belongs to user {found.st_uid}, and this process runs as user "
            f"{os.geteuid()}, who must not trust what others put there; {_ELSEWHERE}"
        )
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise CacheUnusable(
            f"other users may write to {folder}, so its content cannot be trusted; remove it"
        )
    return True


def make_ours(folder: Path) -> None:
    """Create the folder where needed, and close it to everybody else.

    Raises:
        CacheUnusable: as `is_ours`.
        OSError: it cannot be created.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.mkdir(mode=0o700, exist_ok=True)
    if is_ours(folder) and stat.S_IMODE(folder.lstat().st_mode) != 0o700:
        folder.chmod(0o700)


def write_ours(path: Path, data: bytes, what: str) -> None:
    """Write a file into a folder of ours, whole or not at all.

    Args:
        path: of the file.
        data: its bytes.
        what: it is, for messages: "the record".

    Raises:
        CacheUnusable: the folder cannot be created or written, or is not ours.
        CacheFull: the disk is full.
    """
    try:
        make_ours(path.parent)
        write_atomic(path, data)
    except OSError as exc:
        raise write_refused(what, path.parent, exc, len(data)) from exc
