"""The scan of an image's files while its layers pass by: secrets, shells, and a few small files."""

from __future__ import annotations

import hashlib
import io
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from enginecrate.image.audit.package_lists import PackageLists
from enginecrate.image.audit.rules.secret_scanner import Scanner, SecretMatch, load_scanner
from enginecrate.image.audit.rules.shell_programs import ELF, shell_in
from enginecrate.image.audit.rules.texts import read_pieces

if TYPE_CHECKING:
    from enginecrate.image.reading.filesystem import Content, Entry, Filesystem

__all__ = ["FileScan"]

_KEPT = re.compile(
    r"etc/(?:passwd|group|shadow|gshadow|ld\.so\.preload|sudoers(?:\.d/[^/]+)?|doas\.conf|doas\.d/[^/]+"
    r"|crontab|anacrontab|cron\.d/[^/]+|crontabs/[^/]+)|var/spool/cron/(?:[^/]+/)?[^/]+"
)
_LARGEST_KEPT = 1 << 20
_LARGEST_PROGRAM = 16 << 20
_LIBRARY = re.compile(r".*\.so(?:\.[0-9.]+)?")


class FileScan:
    """An observer of `read_filesystem`.

    secrets: the matches by the inode of the file, with the entry that was read.
    programs: the shell that a program is, by the program's inode; empty when it is none.
    packages: what the lists of package managers say.
    """

    def __init__(self, scanner: Scanner | None = None) -> None:
        self._scanner = scanner or load_scanner()
        self._kept: dict[int, bytes] = {}
        self._digests: dict[int, tuple[str, ...]] = {}
        self.secrets: dict[int, list[tuple[Entry, SecretMatch]]] = defaultdict(list)
        self.programs: dict[int, str] = {}
        self.packages = PackageLists()

    def __call__(self, entry: Entry, content: Content) -> None:
        if entry.mode & 0o111 and 0 < entry.size <= _LARGEST_PROGRAM:
            beginning = content.read(len(ELF))
            content = _Rest(beginning, content)
            if beginning == ELF and not _LIBRARY.fullmatch(entry.path):
                self._scan_program(entry, content.read())
                return
        for lines, piece in read_pieces(entry.size, content):
            if len(piece) == entry.size:
                self._keep(entry, piece)
            self._search(entry, piece, lines)

    def _keep(self, entry: Entry, data: bytes) -> None:
        if _KEPT.fullmatch(entry.path) and entry.size <= _LARGEST_KEPT:
            self._kept[entry.inode] = data
        self.packages.read(entry.path, data)

    def _scan_program(self, entry: Entry, data: bytes) -> None:
        self.programs[entry.inode] = shell_in(data)
        for lines, piece in read_pieces(entry.size, io.BytesIO(data)):
            self._search(entry, piece, lines)

    def _search(self, entry: Entry, data: bytes, lines_before: int) -> None:
        matches = self._scanner.search_file(entry.path, data)
        known = {(one.kind, one.line) for _, one in self.secrets.get(entry.inode, ())}
        for match in matches:
            here = replace(match, line=match.line + lines_before)
            if (here.kind, here.line) not in known:
                self.secrets[entry.inode].append((entry, here))
        if matches and len(data) == entry.size:
            self._digests[entry.inode] = (
                hashlib.md5(data, usedforsecurity=False).hexdigest(),
                hashlib.sha1(data, usedforsecurity=False).hexdigest(),
            )

    def texts(self, filesystem: Filesystem) -> Mapping[str, str]:
        """The small files that rules read, as a container sees them, by their paths."""
        texts: dict[str, str] = {}
        for folder in ("etc", "var/spool/cron"):
            for entry in filesystem.below(folder):
                if _KEPT.fullmatch(entry.path):
                    target = filesystem.resolve(entry.path)
                    if target is not None and target.inode in self._kept:
                        texts[entry.path] = self._kept[target.inode].decode("utf-8", "replace")
        return texts

    def unchanged(self) -> frozenset[int]:
        """The inodes of files with matches that are those that a package brings."""
        return frozenset(
            inode
            for inode, digests in self._digests.items()
            if self.packages.is_unchanged(self.secrets[inode][0][0].path, digests)
        )

    def all_secrets(self) -> Sequence[tuple[Entry, SecretMatch]]:
        """Every match, by layer, path and line."""
        everything = [pair for matches in self.secrets.values() for pair in matches]
        return sorted(
            everything, key=lambda one: (one[0].layer, one[0].path, one[1].line, one[1].kind)
        )


class _Rest:
    """A content whose beginning was read already."""

    def __init__(self, beginning: bytes, content: Content) -> None:
        self._beginning, self._content = beginning, content

    def read(self, size: int = -1) -> bytes:
        data, self._beginning = self._beginning, b""
        return data + self._content.read(max(0, size - len(data)) if size >= 0 else -1)
