"""The files of a plan that lie beside its main file, such as weights over 2 GB."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import weakref
from collections.abc import Mapping
from pathlib import Path

from enginecrate.errors import PlanInvalid
from enginecrate.values import Digest, PlanInfo

__all__ = ["TemporaryFiles", "check_files", "copy_files"]

_PIECE = 4 * 2**20


class TemporaryFiles(dict[str, Path]):
    """Files of a new plan by name, removed with the last reference to this mapping."""

    _folder: Path | None = None
    _main: Path | None = None

    def folder(self) -> Path:
        """The temporary folder. Raises `OSError`."""
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="enginecrate-"))
            weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        return self._folder

    def take_all(self, besides: Path) -> None:
        """List what is in the folder, but for the plan's main file."""
        self._main = besides
        for path in sorted(self.folder().iterdir()):
            if path != besides:
                self[path.name] = path

    def beside(self, data: bytes) -> bytes | Path:
        """The argument for a runtime: the main file among its files, or just its bytes."""
        return data if self._main is None else self._main

    def digests(self) -> dict[str, str]:
        """The digest of every file."""
        return {name: str(Digest.of_file(path)) for name, path in self.items()}


def copy_files(files: Mapping[str, Path], info: PlanInfo, folder: Path) -> None:
    """Copy files into a plan's folder, and wait until they are on the disk.

    Args:
        files: where each is now, by the name that it gets.
        info: the plan's sidecar, which lists their digests.
        folder: of the plan.

    Raises:
        PlanInvalid: a name or a digest is another than the sidecar says.
        OSError: a file cannot be read or written.
    """
    if set(files) != set(info.files):
        raise PlanInvalid(
            f"the plan comes with the files {sorted(files)}, and its sidecar lists "
            f"{sorted(info.files)}"
        )
    for name, source in files.items():
        _check_name(name)
        if _copy(source, folder / name) != info.files[name]:
            raise PlanInvalid(f"{source} has other bytes than the plan's sidecar says of {name}")


def check_files(info: PlanInfo, folder: Path) -> None:
    """Check the plan's other files against their digests. Raises `PlanInvalid`, `OSError`."""
    for name, digest in info.files.items():
        _check_name(name)
        if Digest.of_file(folder / name) != digest:
            raise PlanInvalid(f"{name} has other bytes than the plan's sidecar says")


def _check_name(name: str) -> None:
    if not name or name in (".", "..") or "/" in name or "\0" in name:
        raise PlanInvalid(f"{name!r} cannot be a file of a plan: it is not a plain name")


def _copy(source: Path, target: Path) -> Digest:
    digest = hashlib.sha256()
    with source.open("rb") as read, target.open("xb") as written:
        while piece := read.read(_PIECE):
            digest.update(piece)
            written.write(piece)
        written.flush()
        os.fsync(written.fileno())
    return Digest("sha256:" + digest.hexdigest())
