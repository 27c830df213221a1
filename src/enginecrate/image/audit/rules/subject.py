"""The subject of an audit: one platform's image with its configuration and its files."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from enginecrate.image.audit.rules.secret_scanner import SecretMatch
    from enginecrate.image.formats.oci import ImageConfig, ImageManifest
    from enginecrate.image.reading.filesystem import Entry, Filesystem

__all__ = ["LARGEST_ID", "NUMBER", "Breach", "Subject", "id_number"]

LARGEST_ID = (1 << 31) - 1
"""The largest number of a user or a group that runtimes and Kubernetes take."""
NUMBER = re.compile(r"[-+]?[0-9]+")


@dataclass(frozen=True, slots=True)
class Breach:
    """A breach of a rule, before it gets a severity.

    path: in the image; empty when it is not about a file.
    layer: from 0; None when it is not about a layer.
    reason: why it does not count; empty when it does.
    """

    message: str
    path: str = ""
    layer: int | None = None
    line: int = 0
    reason: str = ""

    @classmethod
    def at(cls, entry: Entry, message: str) -> Breach:
        """A breach at a path of the image."""
        return cls(message, entry.path, entry.layer)


@dataclass(frozen=True, slots=True)
class _Account:
    """A line of /etc/passwd, as far as rules need it."""

    name: str
    password: str
    uid: int
    gid: int
    line: int


@dataclass(frozen=True, slots=True)
class _Group:
    """A line of /etc/group, as far as rules need it."""

    name: str
    gid: int
    members: tuple[str, ...]
    line: int


@dataclass(frozen=True)
class Subject:
    """An image of one platform.

    tags: that name this image; pinned: it was asked for by its digest.
    files: the merged tree. texts: small files of it by path.
    secrets: matches in all layers, with the file that has them. unchanged: the inodes of those of
        these files that an installed package brings.
    programs: the shell that a program is, by the program's inode; empty when it is none.
    owned: true of a path at which a package manager knows a file.
    unreadable: layers that were left out, by number from 0, with the reason.
    foreign: layers that say that they are elsewhere.
    signed: something that looks like a signature is attached.
    """

    tags: tuple[str, ...]
    pinned: bool
    manifest: ImageManifest
    config: ImageConfig
    files: Filesystem
    texts: Mapping[str, str]
    secrets: Sequence[tuple[Entry, SecretMatch]]
    unchanged: frozenset[int]
    programs: Mapping[int, str]
    owned: Callable[[str], bool]
    unreadable: Mapping[int, str]
    foreign: tuple[int, ...]
    signed: bool

    @cached_property
    def environment(self) -> Mapping[str, str]:
        """Variables of the configuration; of two with one name the last counts."""
        pairs = (line.partition("=") for line in self.config.config.env)
        return {name: value for name, _, value in pairs}

    @cached_property
    def labels(self) -> Mapping[str, str]:
        """Labels of the configuration and annotations of the manifest."""
        return {**self.config.config.labels, **self.manifest.annotations}

    @cached_property
    def command(self) -> tuple[str, ...]:
        """The command that starts: entry point and arguments."""
        return (*self.config.config.entrypoint, *self.config.config.cmd)

    @cached_property
    def accounts(self) -> Sequence[_Account]:
        """The accounts of /etc/passwd that can be understood."""
        accounts = []
        for number, line in enumerate(self.texts.get("etc/passwd", "").splitlines(), 1):
            parts = line.split(":")
            uid, gid = (id_number(part) for part in (parts[2:4] if len(parts) >= 4 else ("", "")))
            if uid is not None and gid is not None:
                accounts.append(_Account(parts[0], parts[1], uid, gid, number))
        return accounts

    @cached_property
    def user_groups(self) -> Sequence[_Group]:
        """The groups of /etc/group that can be understood."""
        groups = []
        for number, line in enumerate(self.texts.get("etc/group", "").splitlines(), 1):
            parts = line.split(":")
            gid = id_number(parts[2]) if len(parts) > 2 else None
            if gid is not None:
                members = tuple(filter(None, parts[3].split(","))) if len(parts) > 3 else ()
                groups.append(_Group(parts[0], gid, members, number))
        return groups

    @cached_property
    def user(self) -> str:
        """The user of the configuration, without its group."""
        return self.config.config.user.partition(":")[0]

    @cached_property
    def group(self) -> str:
        """The group of the configuration; empty when the image leaves it to /etc/passwd."""
        return self.config.config.user.partition(":")[2]

    @cached_property
    def uid(self) -> int | None:
        """The number of the runtime user; None when the image does not say which it is."""
        if not self.user:
            return 0
        if NUMBER.fullmatch(self.user):
            return id_number(self.user)
        return next((one.uid for one in self.accounts if one.name == self.user), None)

    @cached_property
    def gid(self) -> int | None:
        """The number of the runtime user's group."""
        if NUMBER.fullmatch(self.group):
            return id_number(self.group)
        if self.group:
            return next((one.gid for one in self.user_groups if one.name == self.group), None)
        return next((one.gid for one in self.accounts if self.uid == one.uid), 0)

    @cached_property
    def gids(self) -> frozenset[int]:
        """The numbers of all groups of the runtime user: /etc/group adds some where none is set."""
        names = {one.name for one in self.accounts if one.uid == self.uid}
        more = {one.gid for one in self.user_groups if names & set(one.members)}
        own = set() if self.gid is None else {self.gid}
        return frozenset(own if self.group else own | more)

    @property
    def runs_as_root(self) -> bool:
        return self.uid == 0

    def owned_by_user(self, entry: Entry) -> bool:
        """True if the runtime user, who is not root, owns a path."""
        return not self.runs_as_root and self.uid is not None and entry.uid == self.uid

    def writable_by_user(self, entry: Entry) -> bool:
        """True if the runtime user, who is not root, may write a path (or make it so)."""
        if self.runs_as_root:
            return False
        through_group = entry.gid in self.gids and entry.mode & 0o020
        return self.owned_by_user(entry) or bool(through_group or entry.mode & 0o002)


def id_number(text: str) -> int | None:
    """The number of a user or a group; None when it is none, or one that runtimes refuse."""
    number = int(text) if text.isascii() and text.isdecimal() and len(text) <= 20 else -1
    return number if 0 <= number <= LARGEST_ID else None
