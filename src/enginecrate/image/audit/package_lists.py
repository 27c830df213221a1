"""The lists that package managers keep: files that an installed package brings, and their digests.

They tell an example key of a package's documentation from a key that somebody put beside it.

Sources: dpkg, the folder `info` (`.list`, `.md5sums`); apk-tools, the format of `installed`.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator

__all__ = ["PackageLists"]

_LISTS = re.compile(
    r"var/lib/dpkg/(?:info/[^/]+\.(?:list|md5sums)|status\.d/[^/]+\.md5sums)"
    r"|(?:usr/)?lib/apk/db/installed"
)
_KEPT = re.compile(
    r"usr/(?:local/)?share/doc/.*|.*\.timer"
    r"|etc/(?:cron[^/]*(?:/.*)?|anacrontab|crontabs/.*|periodic/.*|sudoers(?:\.d/.*)?)"
)
_MERGED = re.compile(r"(?:bin|sbin|lib|lib32|lib64|libx32)/")
_MOST = 200_000


class PackageLists:
    """What the lists of an image say, of the paths that rules ask about."""

    def __init__(self) -> None:
        self._digests: dict[str, str] = {}
        """By path; empty where the list has none: then the path alone counts."""

    def read(self, path: str, data: bytes) -> None:
        """Take a file of the image; what is no list is passed over."""
        if not _LISTS.fullmatch(path):
            return
        text = data.decode("utf-8", "replace")
        lines = _of_apk(text) if path.endswith("installed") else _of_dpkg(path, text)
        for owned, digest in lines:
            if len(self._digests) < _MOST and (digest or owned not in self._digests):
                self._digests[owned] = digest

    def owns(self, path: str) -> bool:
        """True if a package brings a file at this path."""
        return _merged(path) in self._digests

    def is_unchanged(self, path: str, digests: tuple[str, ...]) -> bool:
        """True if one of the digests of the file at this path is the one of its package."""
        return bool(self._digests.get(_merged(path))) and self._digests[_merged(path)] in digests


def _of_dpkg(path: str, text: str) -> Iterator[tuple[str, str]]:
    sums = path.endswith("md5sums")
    for line in text.splitlines():
        digest, name = line.split(None, 1) if sums and " " in line else ("", line)
        name = name.strip("/. \n")
        if _KEPT.fullmatch(name):
            yield _merged(name), digest


def _of_apk(text: str) -> Iterator[tuple[str, str]]:
    """`F:` names a folder, `R:` a file in it, `Z:` its SHA-1 after `Q1`."""
    folder = name = ""
    for line in text.splitlines():
        key, value = line[:2], line[2:]
        if key == "F:":
            folder = value
        elif key == "R:":
            name = f"{folder}/{value}"
            if _KEPT.fullmatch(name):
                yield _merged(name), ""
        elif key == "Z:" and value.startswith("Q1") and _KEPT.fullmatch(name):
            try:
                yield _merged(name), base64.b64decode(value[2:]).hex()
            except ValueError:
                continue


def _merged(path: str) -> str:
    """The path in /usr: distributions that merged it still list `lib/systemd/...`."""
    return f"usr/{path}" if _MERGED.match(path) else path
