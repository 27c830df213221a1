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
    yield from _linked(group, image, [one for one in candidates if one.kind == "symlink"], reported)


def _candidates(group: Programs, image: Subject) -> Iterator[Entry]:
    """Entries with one of the names, in folders of programs."""
    by_name, folders = group.program_pattern(), _path_folders(image)
    for entry in image.files:
        folder, _, name = entry.path.rpartition("/")
        of_programs = folder.rpartition("/")[2] in _FOLDERS or folder in folders
        if of_programs and (name in group.names or by_name.fullmatch(name)):
            yield entry


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


CHECKS: Mapping[str, Callable[[Subject], Iterator[Breach]]] = {
    **{group.rule: partial(_programs, group) for group in load_programs()},
    "EC-IMG-023": _headers,
}
