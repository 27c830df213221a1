"""The scan of an image's files while its layers pass by: secrets, and a few small files."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from enginecrate.image.audit.rules.secret_scanner import (
    Scanner,
    SecretMatch,
    load_scanner,
    read_searchable,
)

if TYPE_CHECKING:
    from enginecrate.image.reading.filesystem import Content, Entry, Filesystem

__all__ = ["FileScan"]

_KEPT = re.compile(r"etc/(?:passwd|group|shadow|gshadow|ld\.so\.preload)")
_LARGEST_KEPT = 1 << 20


class FileScan:
    """An observer of `read_filesystem`.

    secrets: the matches by the inode of the file, with the entry that was read.
    """

    def __init__(self, scanner: Scanner | None = None) -> None:
        self._scanner = scanner or load_scanner()
        self._kept: dict[int, bytes] = {}
        self.secrets: dict[int, list[tuple[Entry, SecretMatch]]] = defaultdict(list)

    def __call__(self, entry: Entry, content: Content) -> None:
        data = read_searchable(entry.size, content)
        if not data:
            return
        if _KEPT.fullmatch(entry.path) and entry.size <= _LARGEST_KEPT:
            self._kept[entry.inode] = data
        for match in self._scanner.search_file(entry.path, data):
            self.secrets[entry.inode].append((entry, match))

    def texts(self, filesystem: Filesystem) -> Mapping[str, str]:
        """The small files that rules read, as a container sees them, by their paths."""
        texts: dict[str, str] = {}
        for entry in filesystem.below("etc"):
            if _KEPT.fullmatch(entry.path):
                target = filesystem.resolve(entry.path)
                if target is not None and target.inode in self._kept:
                    texts[entry.path] = self._kept[target.inode].decode("utf-8", "replace")
        return texts

    def all_secrets(self) -> Sequence[tuple[Entry, SecretMatch]]:
        """Every match, by layer, path and line."""
        everything = [pair for matches in self.secrets.values() for pair in matches]
        return sorted(
            everything, key=lambda one: (one[0].layer, one[0].path, one[1].line, one[1].kind)
        )
