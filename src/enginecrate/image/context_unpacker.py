"""Unpacks a build context inside of its builder. It is copied there, and needs Python alone.

    python3 unpack.py CONTEXT TARGET

CONTEXT holds `files.json`, which lists every file of the image with its sha256 and the archive that
it comes from (debs/, wheels/) or its own file (files/). Everything is checked, and then written.
TARGET gets one folder for each layer.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

__all__ = ["MODIFIED", "archive_members", "main", "unpack_context"]

MODIFIED = 315_619_200
"""The time of every file: 1980-01-02 UTC."""

_PIECE = 1 << 20


def unpack_context(context: Path, target: Path) -> None:
    """Write the layers. Raises `SystemExit` naming the file that is not what was locked."""
    listing = json.loads((context / "files.json").read_bytes())
    for name, sha256 in listing["archives"].items():
        with (context / name).open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != sha256:
                raise SystemExit(f"{name} is not the file that was locked (sha256 {sha256})")
    targets: dict[str, dict[str, list[tuple[Path, int]]]] = {}
    folders: list[tuple[Path, int, int]] = []
    for number, entries in enumerate(listing["layers"], start=1):
        root = target / str(number)
        root.mkdir(parents=True)
        for entry in entries:
            _prepare(entry, root, targets, folders)
    for source, wanted in targets.items():
        _write(context / source, wanted)
    for folder, mode, owner in reversed(folders):
        os.chmod(folder, mode)  # noqa: PTH101
        os.chown(folder, owner, owner)
        os.utime(folder, (MODIFIED, MODIFIED))


def archive_members(path: Path) -> Iterator[IO[bytes]]:
    """The regular files of a .deb or a wheel, one by one, as streams."""
    if path.suffix == ".whl":
        with zipfile.ZipFile(path) as wheel:
            for info in wheel.infolist():
                if not info.is_dir():
                    with wheel.open(info) as file:
                        yield file
        return
    with path.open("rb") as deb:
        _find_data(deb)
        with tarfile.open(fileobj=deb, mode="r|*") as archive:
            for member in archive:
                stream = archive.extractfile(member) if member.isreg() else None
                if stream is not None:
                    yield stream


def _find_data(file: IO[bytes]) -> None:
    """Go to the beginning of data.tar.* in an `ar` archive (deb(5))."""
    file.seek(8)
    while header := file.read(60):
        name, size = header[:16].decode().strip().rstrip("/"), int(header[48:58])
        if name.startswith("data.tar"):
            return
        file.seek(size + size % 2, os.SEEK_CUR)
    raise SystemExit(f"{file.name} has no data.tar")


def _prepare(entry: list[Any], root: Path, targets: dict[str, Any], folders: list[Any]) -> None:
    kind, path = entry[0], root / entry[1]
    if kind == "folder":
        path.mkdir(exist_ok=True)
        folders.append((path, entry[2], entry[3]))
    elif kind == "link":
        path.symlink_to(entry[2])
    else:
        _, _, mode, sha256, source = entry
        targets.setdefault(source, {}).setdefault(sha256, []).append((path, mode))


def _write(source: Path, wanted: dict[str, list[tuple[Path, int]]]) -> None:
    """Find files by their checksums in a source, and put them where they belong."""
    missing = set(wanted)
    streams = archive_members(source) if source.suffix in (".whl", ".deb") else _single(source)
    for stream in streams:
        with tempfile.TemporaryFile() as copy:
            hasher = hashlib.sha256()
            while piece := stream.read(_PIECE):
                hasher.update(piece)
                copy.write(piece)
            sha256 = hasher.hexdigest()
            if sha256 not in missing:
                continue
            missing.discard(sha256)
            for path, mode in wanted[sha256]:
                copy.seek(0)
                with path.open("xb") as file:
                    shutil.copyfileobj(copy, file, _PIECE)
                path.chmod(mode)
                os.utime(path, (MODIFIED, MODIFIED))
    if missing:
        raise SystemExit(f"{source} lacks files with these sha256: {', '.join(sorted(missing))}")


def _single(source: Path) -> Iterator[IO[bytes]]:
    with source.open("rb") as file:
        yield file


def main() -> None:
    """Unpack what the command line names."""
    unpack_context(Path(sys.argv[1]), Path(sys.argv[2]))


if __name__ == "__main__":
    main()
