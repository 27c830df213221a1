"""Rules about the runtime user and the accounts of the image."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from enginecrate.image.audit.rules.subject import Breach, Subject

__all__ = ["CHECKS"]

_LOCKED = ("*", "!", "x", "NP", "LK")


def _root(image: Subject) -> Iterator[Breach]:
    if image.runs_as_root:
        user = image.config.config.user
        yield Breach(f"the user is {user!r}: root" if user else "no user is set: it is root")


def _name(image: Subject) -> Iterator[Breach]:
    if image.user and not image.user.isdecimal() and not image.runs_as_root:
        number = "is not in /etc/passwd" if image.uid is None else f"has the number {image.uid}"
        yield Breach(f"the user is given by name: {image.user!r} {number}")


def _no_password(image: Subject) -> Iterator[Breach]:
    for path, line, name, password in _passwords(image):
        if not password:
            yield Breach(f"the account {name!r} has no password", path, line=line)


def _hashes(image: Subject) -> Iterator[Breach]:
    for path, line, name, password in _passwords(image):
        if password and not password.startswith(_LOCKED):
            yield Breach(f"the hash of the password of {name!r}", path, line=line)


def _passwords(image: Subject) -> Iterator[tuple[str, int, str, str]]:
    """Path, line, account and the field for its password."""
    for path in ("etc/passwd", "etc/shadow"):
        for number, line in enumerate(image.texts.get(path, "").splitlines(), 1):
            name, colon, rest = line.partition(":")
            if colon and name and not name.startswith("#"):
                yield path, number, name, rest.partition(":")[0]


def _shadow(image: Subject) -> Iterator[Breach]:
    for path in ("etc/shadow", "etc/gshadow", "etc/shadow-", "etc/gshadow-"):
        entry = image.files.get(path)
        if entry is not None and entry.kind == "file" and entry.mode & 0o004:
            yield Breach(f"mode {entry.mode:04o}: everybody may read it", path, entry.layer)


def _second_root(image: Subject) -> Iterator[Breach]:
    for account in image.accounts:
        if account.uid == 0 and account.name != "root":
            yield Breach(f"the account {account.name!r} is root", "etc/passwd", line=account.line)


CHECKS: Mapping[str, Callable[[Subject], Iterator[Breach]]] = {
    "EC-IMG-001": _root,
    "EC-IMG-002": _name,
    "EC-IMG-003": _no_password,
    "EC-IMG-004": _hashes,
    "EC-IMG-005": _shadow,
    "EC-IMG-006": _second_root,
}
