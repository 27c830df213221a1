"""A cache of folders on disk, each under the key of everything that shapes it.

<folder>/<key>/           an entry
         <key>.corrupt/   a damaged one that was set aside
         .<key>.lock      held by whoever makes it
"""

from __future__ import annotations

import errno
import logging
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Generic, TypeVar

from enginecrate.errors import CacheUnusable, EnginecrateError
from enginecrate.files.atomic import scratch_folder, sweep, sync_folder
from enginecrate.files.disk_errors import write_refused
from enginecrate.files.eviction import CORRUPT, mark_used, prune_corrupt
from enginecrate.files.locks import file_lock
from enginecrate.files.private_folder import is_ours, make_ours

__all__ = ["FolderStore"]

_log = logging.getLogger(__name__)

_OCCUPIED = {errno.ENOTEMPTY, errno.EEXIST}

T = TypeVar("T")


class FolderStore(Generic[T]):
    """Entries in a folder of ours. Several processes may use the same one at once."""

    def __init__(self, folder: Path, noun: str, read: Callable[[Path], T]) -> None:
        """Nothing is created before the first `put`.

        Args:
            folder: of all entries.
            noun: of an entry, for messages: "plan".
            read: an entry from its folder, checked. An `EnginecrateError` says that it is damaged,
                and so does a missing file.
        """
        self._folder, self._noun, self._read = folder, noun, read

    def get(self, key: str) -> T | None:
        """The entry of this key; `None` when there is none.

        A damaged one is renamed to `<key>.corrupt`, logged as a warning, and counts as none.

        Raises:
            CacheUnusable: the folder belongs to another user, others may write to it, or the
                entry cannot be read.
        """
        if not is_ours(self._folder):
            return None
        folder = self._folder / key
        try:
            entry = self._read(folder)
        except FileNotFoundError as exc:
            if not folder.exists():
                return None
            self._set_aside(folder, f"{Path(exc.filename).name} is missing")
        except EnginecrateError as exc:
            self._set_aside(folder, str(exc))
        except OSError as exc:
            raise CacheUnusable(
                f"cannot read the {self._noun} in {folder}: {exc.strerror}; correct its "
                "permissions, or choose another folder with the setting cache_dir"
            ) from exc
        else:
            mark_used(folder)
            return entry
        return None

    def put(self, key: str, fill: Callable[[Path], None], size: int) -> T | None:
        """Store an entry: whole or not at all, also when the process is killed.

        What killed processes left behind is removed.

        Args:
            key: of the entry.
            fill: writes it into a folder.
            size: bytes that it needs, for the message about a full disk.

        Returns:
            The entry of another process that was quicker; `None` when this one is stored.

        Raises:
            CacheUnusable: the folder cannot be created or written, or is not ours.
            CacheFull: the disk is full.
        """
        try:
            make_ours(self._folder)
            sweep(self._folder)
            with scratch_folder(self._folder, key) as scratch:
                fill(scratch)
                sync_folder(scratch)
                return self._publish(scratch, key)
        except OSError as exc:
            raise write_refused(f"the {self._noun}", self._folder, exc, size) from exc

    @contextmanager
    def making(self, key: str, waiting: Callable[[], None]) -> Iterator[None]:
        """Be the only one who makes this entry, over all processes that share the cache.

        A process that had to wait looks with `get` whether the entry is there now. The lock of one
        that is killed is free at once.

        Raises:
            CacheUnusable: the folder cannot be created or written, or is not ours.
        """

        def waits() -> None:
            _log.info("another process builds the %s %s; waiting for it", self._noun, key)
            waiting()

        with ExitStack() as stack:
            try:
                make_ours(self._folder)
                stack.enter_context(file_lock(self._folder / f".{key}.lock", waits))
            except OSError as exc:
                raise write_refused(f"the {self._noun}'s lock", self._folder, exc, 0) from exc
            yield

    def _publish(self, scratch: Path, key: str) -> T | None:
        folder = self._folder / key
        while True:
            try:
                scratch.rename(folder)
            except OSError as exc:
                if exc.errno not in _OCCUPIED:
                    raise
                # A damaged entry is set aside by `get`, and the name is free for the next try.
                existing = self.get(key)
                if existing is not None:
                    return existing
                continue
            sync_folder(self._folder)
            mark_used(folder)
            return None

    def _set_aside(self, folder: Path, reason: str) -> None:
        aside = folder.with_name(folder.name + CORRUPT)
        _log.warning(
            "the cached %s %s is damaged and was set aside: %s", self._noun, folder, reason
        )
        shutil.rmtree(aside, ignore_errors=True)
        try:
            folder.rename(aside)
        except FileNotFoundError:  # another process has just done the same
            return
        except OSError as exc:
            raise CacheUnusable(
                f"cannot set the damaged {self._noun} {folder} aside: {exc.strerror}; remove the "
                "folder"
            ) from exc
        mark_used(aside)
        prune_corrupt(self._folder)
