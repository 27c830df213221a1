"""Rules about the runtime user and the accounts of the image."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping

from enginecrate.image.audit.rules.subject import LARGEST_ID, NUMBER, Breach, Subject, id_number

__all__ = ["CHECKS"]

_FIRST_PERSON = 1000
"""The first number that Debian and Red Hat give to people; lower ones are those of the system."""
_GRANT = re.compile(
    r"\s*(?!#|Defaults|(?:User|Runas|Host|Cmnd|Cmd)_Alias|@?include)(?:permit\b|[^=\s]\S*\s.*=)"
)
_OF_SUDO = re.compile(r"\s*(?:root|%sudo|%wheel|%admin)\s+ALL\s*=(?!.*NOPASSWD)")
"""The lines of the file as sudo brings it."""
_LOCKED = ("*", "!", "x", "NP", "LK")


def _root(image: Subject) -> Iterator[Breach]:
    if image.runs_as_root:
        user = image.config.config.user
        yield Breach(f"the user is {user!r}: root" if user else "no user is set: it is root")


def _name(image: Subject) -> Iterator[Breach]:
    if image.user and not NUMBER.fullmatch(image.user) and not image.runs_as_root:
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


def _root_group(image: Subject) -> Iterator[Breach]:
    if not image.runs_as_root and image.uid is not None and 0 in image.gids:
        if image.gid == 0:
            words = "the group is 0" if image.group else "no group is set: it is 0, that of root"
        else:
            words = "/etc/group makes the user a member of the group 0"
        yield Breach(words)
    for account in image.accounts:
        if account.gid == 0 and account.uid >= _FIRST_PERSON and account.uid != image.uid:
            words = f"the account {account.name!r} is in the group of root"
            yield Breach(words, "etc/passwd", line=account.line)
    for group in image.user_groups:
        others = [name for name in group.members if not _is_system(image, name)]
        if group.gid == 0 and others and 0 not in image.gids:
            yield Breach(f"{others[0]!r} is a member of it", "etc/group", line=group.line)


def _is_system(image: Subject, name: str) -> bool:
    """True of root and of the accounts that distributions bring, and of names without one."""
    return next((one.uid for one in image.accounts if one.name == name), 0) < _FIRST_PERSON


def _out_of_range(image: Subject) -> Iterator[Breach]:
    for what, text in (("user", image.user), ("group", image.group)):
        if NUMBER.fullmatch(text) and id_number(text) is None:
            shown = text if len(text) < 24 else f"a number of {len(text)} digits"
            yield Breach(f"the {what} is {shown}; 0 to {LARGEST_ID} can be used")
    if image.group and image.gid is None and not NUMBER.fullmatch(image.group):
        yield Breach(f"the group {image.group!r} is not in /etc/group")


def _sudo(image: Subject) -> Iterator[Breach]:
    for path, text in sorted(image.texts.items()):
        name = path.rpartition("/")[2]
        # sudo passes over files with these names; sudoers(5), "Including other files".
        unread = path.startswith("etc/sudoers.d/") and ("." in name or name.endswith("~"))
        if unread or not path.startswith(("etc/sudoers", "etc/doas")):
            continue
        for number, line in enumerate(text.splitlines(), 1):
            if _GRANT.match(line) and not (path == "etc/sudoers" and _OF_SUDO.match(line)):
                entry = image.files.get(path)
                layer = entry.layer if entry else None
                yield Breach("a line gives rights of another user", path, layer, number)
                break


CHECKS: Mapping[str, Callable[[Subject], Iterator[Breach]]] = {
    "EC-IMG-001": _root,
    "EC-IMG-002": _name,
    "EC-IMG-003": _no_password,
    "EC-IMG-004": _hashes,
    "EC-IMG-005": _shadow,
    "EC-IMG-006": _second_root,
    "EC-IMG-007": _root_group,
    "EC-IMG-008": _out_of_range,
    "EC-IMG-019": _sudo,
}
