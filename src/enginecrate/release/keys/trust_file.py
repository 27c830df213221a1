"""The trust file `keys.toml`: which keys may sign which releases.

Old releases stay verifiable with the key of their time, new ones need the new key: a key is valid
from one release to another, both included. A revoked key counts for nothing. Versions are ordered
as Semantic Versioning 2.0.0 orders them (section 11, "Precedence").
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated

import msgspec

from enginecrate.errors import InputUnreadable, KeyInvalid, SystemRefused
from enginecrate.files.atomic import write_atomic
from enginecrate.files.encoding import utf8
from enginecrate.release.keys.keys import PublicKey, parse_public_key

__all__ = [
    "Trust",
    "TrustedKey",
    "is_limit",
    "load_trust",
    "render_trust",
    "save_trust",
    "version_key",
]

_FORMAT = 1
_MAX_BYTES = 1 << 20
_LIMIT = r"^([0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.-]+)?)?\Z"
_Version = Annotated[str, msgspec.Meta(pattern=_LIMIT)]
_Part = tuple[int, int, str]


class TrustedKey(msgspec.Struct, frozen=True, kw_only=True):
    """A public key and what it may sign.

    valid_from, valid_until: versions of the app, both included; empty: no limit.
    revoked: the reason; empty: it is not revoked.
    """

    key: PublicKey
    name: str
    valid_from: str = ""
    valid_until: str = ""
    revoked: str = ""

    @property
    def title(self) -> str:
        """For messages."""
        return f"{self.name!r} ({self.key.id.short})"

    def objection(self, version: str) -> str:
        """Why it does not count for a release; empty when it does.

        Args:
            version: of the app; empty when it is unknown, which excludes limited keys.
        """
        if self.revoked:
            return f"the key {self.title} is revoked: {self.revoked}"
        if not (self.valid_from or self.valid_until):
            return ""
        try:
            current = version_key(version)
        except ValueError:
            return f"the key {self.title} is only valid for some versions, and this has none"
        if self.valid_from and current < version_key(self.valid_from):
            return f"the key {self.title} is valid from {self.valid_from}, and this is {version}"
        if self.valid_until and current > version_key(self.valid_until):
            return f"the key {self.title} is valid until {self.valid_until}, and this is {version}"
        return ""


class Trust(msgspec.Struct, frozen=True, kw_only=True):
    """Keys, and how many of them must have signed."""

    keys: tuple[TrustedKey, ...]
    require: int = 1

    @classmethod
    def of(
        cls, keys: Iterable[tuple[str, PublicKey]], *, file: Iterable[TrustedKey] = (), require: int
    ) -> Trust:
        """Keys that were given by name, and those of a trust file.

        A key that is in both keeps what the file says about it.

        Raises:
            KeyInvalid: no key is given, or fewer than are required.
        """
        known = {one.key.id: one for one in file}
        for name, key in keys:
            known.setdefault(key.id, TrustedKey(key=key, name=name))
        usable = [one for one in known.values() if not one.revoked]
        if not known:
            raise KeyInvalid("no key to verify with; name the vendor's public key with --key")
        if not 1 <= require <= max(1, len(usable)):
            raise KeyInvalid(
                f"--require {require} cannot be met: {len(usable)} keys that are not revoked are "
                "given; name more keys, or require fewer signers"
            )
        return cls(keys=tuple(known.values()), require=require)


class _Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One `[[keys]]` of the file. `id` repeats what follows from the key, for people."""

    id: str
    name: str
    public_key: str
    valid_from: _Version = ""
    valid_until: _Version = ""
    revoked: str = ""


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    format: int
    keys: tuple[_Entry, ...] = ()


def load_trust(path: Path) -> tuple[TrustedKey, ...]:
    """The keys of a trust file.

    Raises:
        InputUnreadable: it cannot be read.
        KeyInvalid: it is malformed, has a key twice, or an id is not that of its
            key.
        MissingExtra: the library for keys is missing.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except OSError as exc:
        raise InputUnreadable(
            f"cannot read the trust file {path}: {exc.strerror}; make one with: "
            "enginecrate keys trust KEY.pub"
        ) from exc
    return _parse(data, path)


def _parse(data: bytes, path: Path) -> tuple[TrustedKey, ...]:
    """The keys in the bytes of a trust file. Raises as `load_trust`."""
    if len(data) > _MAX_BYTES:
        raise KeyInvalid(f"{path} is too large for a trust file; {_MAX_BYTES} bytes are read")
    try:
        content = msgspec.toml.decode(utf8(data), type=_File)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as exc:
        raise KeyInvalid(f"{path} is not a trust file: {exc}; docs/signing.md shows one") from exc
    if content.format != _FORMAT:
        raise KeyInvalid(f"{path} has format {content.format}, and this version reads {_FORMAT}")
    ids = [entry.id for entry in content.keys]
    for entry in content.keys:
        if ids.count(entry.id) > 1:
            raise KeyInvalid(
                f"{path} has the key {entry.name!r} ({entry.id[:19]}) twice, and only one entry "
                "could count; remove the wrong one"
            )
    return tuple(_trusted(entry, path) for entry in content.keys)


def render_trust(keys: Iterable[TrustedKey]) -> bytes:
    """The file: the same keys give the same bytes."""
    return ("\n".join(_lines(keys)) + "\n").encode()


def save_trust(path: Path, keys: Iterable[TrustedKey]) -> None:
    """Write the file, whole or not at all.

    Raises:
        KeyInvalid: it could not be read afterwards; what was there stays.
        SystemRefused: it cannot be written.
    """
    data = _readable(path, tuple(keys))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, data)
    except OSError as exc:
        raise SystemRefused(f"cannot write {path}: {exc.strerror}; choose another folder") from exc


def _readable(path: Path, keys: tuple[TrustedKey, ...]) -> bytes:
    """The bytes for the file, once they have proven to say the same when they are read."""
    try:
        data = render_trust(keys)
        if _parse(data, path) == keys:
            return data
        reason = "it would say something else"
    except (KeyInvalid, UnicodeEncodeError) as exc:
        reason = str(exc)
    raise KeyInvalid(
        f"{path} is left as it is, since it could not be read afterwards ({reason}); give other "
        "names and versions"
    )


def _trusted(entry: _Entry, path: Path) -> TrustedKey:
    key = parse_public_key(entry.public_key.encode(), f"{path}: the key {entry.name!r}")
    if key.id != entry.id:
        raise KeyInvalid(
            f"{path}: the key {entry.name!r} has the id {key.id}, and {entry.id!r} stands there; "
            "one of them was changed: add the key again from the vendor's file"
        )
    return TrustedKey(
        key=key,
        name=entry.name,
        valid_from=entry.valid_from,
        valid_until=entry.valid_until,
        revoked=entry.revoked,
    )


def _lines(keys: Iterable[TrustedKey]) -> Iterator[str]:
    yield "# Public keys whose signatures count. `enginecrate keys` writes it; see docs/signing.md."
    yield f"format = {_FORMAT}"
    for entry in keys:
        yield from ("", "[[keys]]")
        yield f"id = {json.dumps(entry.key.id)}"
        yield f"name = {json.dumps(entry.name, ensure_ascii=False)}"
        for name in ("valid_from", "valid_until", "revoked"):
            if value := getattr(entry, name):
                yield f"{name} = {json.dumps(value, ensure_ascii=False)}"
        yield 'public_key = """'
        yield f'{entry.key.pem.rstrip()}\n"""'


def is_limit(text: str) -> bool:
    """True when a text may be `valid_from` or `valid_until`: a version without build metadata."""
    return bool(re.match(_LIMIT, text))


def version_key(version: str) -> tuple[tuple[int, ...], bool, tuple[_Part, ...]]:
    """The key that sorts versions. Build metadata does not count.

    Raises:
        ValueError: it does not begin with three numbers.
    """
    core, _, tail = version.partition("+")[0].partition("-")
    numbers = tuple(int(part) for part in core.split("."))
    if len(numbers) != 3 or min(numbers) < 0:
        raise ValueError(f"not a version: {version!r}")
    parts = tuple(_part(part) for part in tail.split(".")) if tail else ()
    return numbers, not tail, parts


def _part(text: str) -> _Part:
    """Numbers come before words."""
    return (0, int(text), "") if text.isdecimal() else (1, 0, text)
