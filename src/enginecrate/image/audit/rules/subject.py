"""The subject of an audit: one platform's image with its configuration and its files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from enginecrate.image.audit.rules.secret_scanner import SecretMatch
    from enginecrate.image.formats.oci import ImageConfig, ImageManifest
    from enginecrate.image.reading.filesystem import Entry, Filesystem

__all__ = ["Breach", "Subject"]


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


@dataclass(frozen=True)
class Subject:
    """An image of one platform.

    tags: that name this image; pinned: it was asked for by its digest.
    files: the merged tree. texts: small files of it by path.
    secrets: matches in all layers, with the file that has them.
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
            if len(parts) >= 4 and parts[2].isdecimal() and parts[3].isdecimal():
                accounts.append(_Account(parts[0], parts[1], int(parts[2]), int(parts[3]), number))
        return accounts

    @cached_property
    def user(self) -> str:
        """The user of the configuration, without its group."""
        return self.config.config.user.partition(":")[0]

    @cached_property
    def uid(self) -> int | None:
        """The number of the runtime user; None when the image does not say which it is."""
        if not self.user:
            return 0
        if self.user.isdecimal():
            return int(self.user)
        return next((one.uid for one in self.accounts if one.name == self.user), None)

    @cached_property
    def gid(self) -> int | None:
        """The number of the runtime user's group."""
        group = self.config.config.user.partition(":")[2]
        if group.isdecimal():
            return int(group)
        for line in self.texts.get("etc/group", "").splitlines():
            parts = line.split(":")
            if group and parts[0] == group and len(parts) > 2 and parts[2].isdecimal():
                return int(parts[2])
        groups = (account.gid for account in self.accounts if self.uid == account.uid)
        return None if group else next(groups, 0)

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
        through_group = self.gid is not None and entry.gid == self.gid and entry.mode & 0o020
        return self.owned_by_user(entry) or bool(through_group or entry.mode & 0o002)
