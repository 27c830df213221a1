"""The running enginecrate itself, as a package that is installed in an image.

The same source gives the same files, whether it was installed from a wheel or is being edited.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from enginecrate.image.layers.entries import Entry, RegularFile, key_of
from enginecrate.image.layers.files import FolderContents
from enginecrate.image.layers.packages.record import SITE, record_of, sha256_text
from enginecrate.version import PACKAGE_FOLDER, __version__

__all__ = ["OwnPackage"]

_INFO = f"enginecrate-{__version__}.dist-info"
_WHEEL = b"Wheel-Version: 1.0\nGenerator: enginecrate\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


@dataclass(frozen=True, slots=True)
class _Facts:
    summary: str
    license: str
    requires_python: str
    requires: tuple[str, ...]
    license_text: bytes


class OwnPackage:
    """Our code at `SITE`, with a generated `.dist-info`; the samples are left out."""

    def __init__(self, source: Path | None = None) -> None:
        """`source`: the package's folder, in place of the running one's."""
        self._source = source or PACKAGE_FOLDER
        self._code = FolderContents(
            self._source, f"{SITE}/enginecrate", keep=_is_code, name="enginecrate"
        )

    def __str__(self) -> str:
        return f"enginecrate {__version__}"

    @property
    def key(self) -> str:
        described = (part for one in self._described for part in (one.path, one.read()))
        return key_of("own 1", self._code.key, *described)

    def entries(self) -> Iterator[Entry]:
        """Raises `RecipeInvalid`: a file changed meanwhile."""
        code = list(self._code.entries())
        yield from code
        yield from self._described
        recorded = [
            (one.path.removeprefix(f"{SITE}/"), _digest(one), one.size)
            for one in code
            if isinstance(one, RegularFile)
        ]
        yield record_of(_INFO, recorded, self._described)

    @cached_property
    def _described(self) -> list[RegularFile]:
        facts = self._facts
        lines = [
            "Metadata-Version: 2.4",
            "Name: enginecrate",
            f"Version: {__version__}",
            f"Summary: {facts.summary}",
            f"License-Expression: {facts.license}",
            *(["License-File: LICENSE"] if facts.license_text else []),
            f"Requires-Python: {facts.requires_python}",
            *(f"Requires-Dist: {one}" for one in facts.requires),
        ]
        files = {"INSTALLER": b"enginecrate\n", "METADATA": "\n".join([*lines, ""]).encode()}
        if facts.license_text:
            files["licenses/LICENSE"] = facts.license_text
        files["WHEEL"] = _WHEEL
        return [RegularFile(f"{SITE}/{_INFO}/{name}", data) for name, data in files.items()]

    @cached_property
    def _facts(self) -> _Facts:
        # Of code that is being edited, the metadata is as old as its installation: the project file
        # beside it tells the truth.
        project = self._source.parent.parent / "pyproject.toml"
        if self._source.parent.name == "src" and project.is_file():
            table = tomllib.loads(project.read_text(encoding="utf-8"))["project"]
            licence = project.with_name("LICENSE")
            return _Facts(
                summary=table["description"],
                license=table["license"],
                requires_python=table["requires-python"],
                requires=_normal(table["dependencies"]),
                license_text=licence.read_bytes() if licence.is_file() else b"",
            )
        distribution = importlib.metadata.distribution("enginecrate")
        metadata = distribution.metadata
        plain = [one for one in distribution.requires or () if "extra ==" not in one]
        licence_text = distribution.read_text("licenses/LICENSE") or ""
        return _Facts(
            summary=metadata["Summary"] or "",
            license=metadata["License-Expression"] or "",
            requires_python=metadata["Requires-Python"] or "",
            requires=_normal(plain),
            license_text=licence_text.encode(),
        )


def _is_code(path: str) -> bool:
    return path.partition("/")[0] != "samples" and not path.endswith((".pyc", ".orig", "~"))


def _normal(requirements: list[str]) -> tuple[str, ...]:
    return tuple(sorted(re.sub(r"\s+", "", one.partition(";")[0]) for one in requirements))


def _digest(file: RegularFile) -> str:
    hasher = hashlib.sha256()
    for piece in file.pieces():
        hasher.update(piece)
    return sha256_text(hasher.digest())
