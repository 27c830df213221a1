"""Rules about programs that an inference server does not need."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import partial

from enginecrate.image.audit.rules.rule_data import Programs, load_programs
from enginecrate.image.audit.rules.subject import Breach, Subject
from enginecrate.image.reading.filesystem import Entry

__all__ = ["CHECKS"]

_FOLDERS = frozenset({"bin", "sbin", "busybox"})
_TIMED = "EC-IMG-028"
_TABLES = re.compile(
    r"etc/(?:crontab|anacrontab|cron\.d/[^/]+|crontabs/[^/]+)"
    r"|var/spool/cron/(?:[^/]+/)?[^/.][^/]*"
)
_SCRIPTS = re.compile(
    r"etc/(?:cron\.(?:hourly|daily|weekly|monthly|yearly)|periodic/[^/]+)/[^/]+"
    r"|var/spool/(?:at|cron/atjobs)/[^/.][^/]*"
)
_UNITS = re.compile(
    r"(?:(?:etc|run|lib|usr/lib|usr/local/lib)/systemd/(?:system|user)"
    r"|usr/(?:local/)?share/systemd/user|(?:root|home/[^/]+)/\.config/systemd/user)/[^/]+\.timer"
)
_VARIABLE = re.compile(r"[A-Za-z_]\w*\s*=")
_UNLISTED = ("var/lib/rpm", "usr/lib/sysimage/rpm", "var/lib/pacman")
"""Databases whose lists of files are not read here: what lies in /usr is taken for theirs."""
_HEADERS = re.compile(
    r"(usr/(?:local/)?include|usr/local/cuda[^/]*/(?:targets/[^/]+/)?include|usr/lib/gcc/.*/include)"
    r"/.*\.(?:h|hh|hpp|cuh|inl)"
)


def _programs(group: Programs, image: Subject) -> Iterator[Breach]:
    by_path = group.file_pattern()
    for entry in image.files:
        if entry.kind == "file" and by_path.fullmatch(entry.path):
            yield Breach.at(entry, group.what)
    candidates = list(_candidates(group, image))
    reported: set[int] = set()
    for entry in candidates:
        if entry.kind == "file" and entry.mode & 0o111 and entry.inode not in reported:
            reported.add(entry.inode)
            yield Breach.at(entry, f"{group.what}: {entry.path.rpartition('/')[2]}")
    if group.anywhere:
        yield from _elsewhere(group, image, reported)
    yield from _linked(group, image, [one for one in candidates if one.kind == "symlink"], reported)


def _candidates(group: Programs, image: Subject) -> Iterator[Entry]:
    """Entries with one of the names, in folders of programs."""
    by_name, folders = group.program_pattern(), _path_folders(image)
    for entry in image.files:
        folder, _, name = entry.path.rpartition("/")
        of_programs = folder.rpartition("/")[2] in _FOLDERS or folder in folders
        if of_programs and (name in group.names or by_name.fullmatch(name)):
            yield entry


def _elsewhere(group: Programs, image: Subject, reported: set[int]) -> Iterator[Breach]:
    """Shells in other folders, or with other names: programs in the form of ELF alone."""
    by_name = group.program_pattern()
    for entry in image.files:
        shell = image.programs.get(entry.inode)
        if shell is None or entry.kind != "file" or entry.inode in reported:
            continue
        name = entry.path.rpartition("/")[2]
        if name in group.names or by_name.fullmatch(name):
            words = f"{group.what}: {name}"
        elif shell:
            words = f"{group.what}: {name} has the code of {shell}"
        else:
            continue
        reported.add(entry.inode)
        yield Breach.at(entry, words)


def _linked(
    group: Programs, image: Subject, links: list[Entry], reported: set[int]
) -> Iterator[Breach]:
    """Links count when they lead to a program that was not told of: `sh` to another name."""
    for entry in links:
        target = image.files.resolve(entry.path)
        if target is None or target.kind != "file" or not target.mode & 0o111:
            continue
        if target.inode not in reported:
            reported.add(target.inode)
            name = entry.path.rpartition("/")[2]
            yield Breach.at(entry, f"{group.what}: {name}, a link to {target.path}")


def _timers(image: Subject) -> Iterator[Breach]:
    """Files that start something at a time; those of packages do nothing without their daemon."""
    for entry in image.files:
        if entry.kind not in ("file", "symlink") or image.owned(entry.path):
            continue
        table = _TABLES.fullmatch(entry.path)
        if table and _has_job(image.texts.get(entry.path, "")):
            yield Breach.at(entry, "a table of timed jobs")
        elif _SCRIPTS.fullmatch(entry.path) and entry.size and entry.mode & 0o111:
            yield Breach.at(entry, "a script that is run at a time")
        elif _UNITS.fullmatch(entry.path) and _is_unit(image, entry):
            yield Breach.at(entry, "a timer of systemd")


def _has_job(text: str) -> bool:
    """True if a line of a table is neither a comment nor a variable."""
    lines = (line.strip() for line in text.splitlines())
    return any(line and line[0] != "#" and not _VARIABLE.match(line) for line in lines)


def _is_unit(image: Subject, entry: Entry) -> bool:
    """A unit of its own; a link that enables it, or that switches it off, is none."""
    if entry.kind == "symlink":
        return False
    managed = any(image.files.resolve(path) for path in _UNLISTED) and entry.path.startswith("usr/")
    return bool(entry.size) and not managed


def _path_folders(image: Subject) -> set[str]:
    return {part.strip("/") for part in image.environment.get("PATH", "").split(":") if part}


def _headers(image: Subject) -> Iterator[Breach]:
    counts: Counter[str] = Counter()
    for entry in image.files:
        match = _HEADERS.fullmatch(entry.path) if entry.kind == "file" else None
        if match:
            counts[match[1]] += 1
    for folder in sorted(counts):
        parent = image.files.get(folder)
        files = "1 header file" if counts[folder] == 1 else f"{counts[folder]} header files"
        if parent is not None:
            yield Breach.at(parent, files)


def _timed(image: Subject) -> Iterator[Breach]:
    yield from _programs(next(one for one in load_programs() if one.rule == _TIMED), image)
    yield from _timers(image)


CHECKS: Mapping[str, Callable[[Subject], Iterator[Breach]]] = {
    **{group.rule: partial(_programs, group) for group in load_programs()},
    "EC-IMG-023": _headers,
    _TIMED: _timed,
}
