"""The database of dpkg, so that scanners list the packages. dpkg itself is never in an image.

Source: deb-control(5), and the layout that dpkg 1.21 writes below /var/lib/dpkg.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from enginecrate.image.layers.entries import Entry, Folder, RegularFile, key_of
from enginecrate.image.layers.packages.debs import DebContents
from enginecrate.image.layers.safe_paths import merged_usr, safe_path

__all__ = ["DpkgDatabase"]

_FOLDER = "var/lib/dpkg"


class DpkgDatabase:
    """`status`, and for each package the list of the files that the image has, and their sums."""

    def __init__(self, debs: Sequence[DebContents]) -> None:
        self._debs = sorted(debs, key=lambda one: (one.locked.name, one.locked.architecture))

    def __str__(self) -> str:
        return "list of the Debian packages"

    @property
    def key(self) -> str:
        return key_of("dpkg 1", *(deb.key for deb in self._debs))

    def entries(self) -> Iterator[Entry]:
        """Raises `ArchiveUnsafe`, `ArtifactChanged`."""
        status = "\n".join(_paragraph(deb) for deb in self._debs)
        yield RegularFile(f"{_FOLDER}/status", status.encode())
        for deb in self._debs:
            paths = [one.path for one in deb.entries()]
            name = f"{_FOLDER}/info/{_info_name(deb)}"
            listed = "".join(f"{path}\n" for path in ["/.", *sorted(f"/{one}" for one in paths)])
            yield RegularFile(f"{name}.list", listed.encode())
            if sums := _sums(deb, set(paths)):
                yield RegularFile(f"{name}.md5sums", sums.encode())
        yield Folder(f"{_FOLDER}/updates")


def _paragraph(deb: DebContents) -> str:
    """The control file with dpkg's own field `Status` behind the name."""
    lines = deb.control.get("control", b"").decode("utf-8", "replace").strip("\n").splitlines()
    fields = [line for line in lines if line.strip() and not line.startswith("Status:")]
    behind = next((n for n, line in enumerate(fields, 1) if line.startswith("Package:")), 0)
    return "\n".join([*fields[:behind], "Status: install ok installed", *fields[behind:]]) + "\n"


def _info_name(deb: DebContents) -> str:
    control = deb.control.get("control", b"").decode("utf-8", "replace").splitlines()
    same = "Multi-Arch: same" in (line.strip() for line in control)
    return f"{deb.locked.name}:{deb.locked.architecture}" if same else deb.locked.name


def _sums(deb: DebContents, paths: set[str]) -> str:
    """The package's own `md5sums`, for the files that are there, with their paths in the image."""
    kept = []
    for line in deb.control.get("md5sums", b"").decode("utf-8", "replace").splitlines():
        md5, _, name = line.partition("  ")
        path = merged_usr(safe_path(name, str(deb)))
        if path in paths:
            kept.append(f"{md5}  {path}\n")
    return "".join(sorted(kept, key=lambda one: one[32:]))
