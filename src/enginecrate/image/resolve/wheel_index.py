"""Python wheels, by pip: its indexes, certificates and proxies, for another machine than this one.

Source: pip's documentation of `pip install --dry-run --report` and of `pip download`.
"""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from shlex import quote
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import unquote, urlsplit

import msgspec

from enginecrate.errors import SourceUnavailable
from enginecrate.image.resolve.requirement_closure import Candidate
from enginecrate.image.resolve.target import Target
from enginecrate.image.resolve.tools import complaints, run_tool
from enginecrate.stacks.lock import LockedWheel
from enginecrate.values import canonical_name

__all__ = ["WheelIndex"]

_NOWHERE = re.compile(r"No matching distribution found for ([^\s(]+)")


class WheelIndex:
    """The index of wheels that the machine's pip sees. Only wheels count; nothing is built or run.

    extra_index_urls, find_links: more indexes, and folders or pages with wheels.
    """

    def __init__(
        self,
        target: Target,
        *,
        extra_index_urls: Sequence[str] = (),
        find_links: Sequence[str] = (),
    ) -> None:
        self._target = target
        self._sources = "".join(
            [
                *(f"--extra-index-url {quote(url)}\n" for url in extra_index_urls),
                *(f"--find-links {quote(_absolute(folder))}\n" for folder in find_links),
            ]
        )

    def resolve(
        self, requirements: Sequence[str], *, kept: Mapping[str, str] | None = None
    ) -> tuple[Candidate, ...]:
        """The wheels that pip would install for requirements, sorted by name.

        Args:
            requirements: as in a requirements file.
            kept: versions by name; nothing else is taken for these packages.

        Raises:
            SourceUnavailable: no index has a wheel that fits, or none can be reached.
        """
        with TemporaryDirectory(prefix="enginecrate-") as name:
            folder = Path(name)
            pins = "".join(f"{name}=={version}\n" for name, version in sorted((kept or {}).items()))
            (folder / "kept.txt").write_text(pins, encoding="utf-8")
            (folder / "wanted.txt").write_text("\n".join(requirements) + "\n", encoding="utf-8")
            done = self._pip(
                folder, "install", "--dry-run", "--ignore-installed", "--report=report.json",
                "--target=nowhere", "--constraint=kept.txt", "--requirement=wanted.txt",
            )  # fmt: skip
            if done.returncode:
                raise SourceUnavailable(self._refusal(done, bool(kept)))
            report = msgspec.json.decode((folder / "report.json").read_bytes())
        return tuple(sorted(_candidates(report), key=lambda one: one.name))

    def download(self, wheels: Sequence[LockedWheel], folder: Path, *, hashed: bool = True) -> str:
        """Fetch wheels into a folder.

        Args:
            wheels: what to fetch.
            folder: where the files are written, under their names.
            hashed: take files with the lock's checksums alone; else any file of these versions.

        Returns:
            The complaints of pip; empty when all files were fetched.

        Raises:
            SourceUnavailable: pip is not installed.
        """
        lines = [
            f"{one.name}=={one.version}{f' --hash=sha256:{one.sha256}' if hashed else ''}\n"
            for one in wheels
        ]
        with TemporaryDirectory(dir=folder, prefix="pip-") as name:
            work = Path(name)
            (work / "wanted.txt").write_text("".join(lines), encoding="utf-8")
            done = self._pip(
                work, "download", "--no-deps", "--requirement=wanted.txt", f"--dest={folder}"
            )
        return complaints(done) if done.returncode else ""

    def _pip(self, folder: Path, verb: str, *words: str) -> subprocess.CompletedProcess[str]:
        if importlib.util.find_spec("pip") is None:
            raise SourceUnavailable(
                f"pip is not installed for {sys.executable}; install it (python -m ensurepip), or "
                "take the packages from stored inputs: --inputs"
            )
        # An address may hold a password, and everybody on the machine reads command lines.
        (folder / "sources.txt").write_text(self._sources, encoding="utf-8")
        common = [
            "--disable-pip-version-check", "--no-input", "--quiet", "--only-binary=:all:",
            f"--python-version={self._target.interpreter}", "--implementation=cp",
            *self._abis(), *(f"--platform={tag}" for tag in self._target.tags),
            "--requirement=sources.txt",
        ]  # fmt: skip
        return run_tool([sys.executable, "-m", "pip", verb, *common, *words], folder=folder)

    def _abis(self) -> Iterator[str]:
        for abi in (f"cp{self._target.python.replace('.', '')}", "abi3", "none"):
            yield f"--abi={abi}"

    def _refusal(self, done: subprocess.CompletedProcess[str], kept: bool) -> str:
        missing = _NOWHERE.search(done.stderr + done.stdout)
        where = f"for {self._target.platform} and Python {self._target.interpreter}"
        newer = "take newer versions: enginecrate lock --upgrade; or " if kept else ""
        if missing:
            return (
                f"no index that pip asks here has a wheel of {missing[1]} {where}; {newer}name one "
                "more with --extra-index-url, or a folder of wheels with --find-links"
            )
        return (
            f"pip cannot resolve the Python packages {where}: {complaints(done)}; {newer}correct "
            "the requirements, or pip's configuration, and try again"
        )


def _candidates(report: Any) -> Iterator[Candidate]:
    """The wheels of pip's installation report (version 1)."""
    for item in report["install"]:
        metadata, origin = item["metadata"], item["download_info"]
        name = canonical_name(metadata["name"])
        sha256 = origin.get("archive_info", {}).get("hashes", {}).get("sha256")
        if not sha256:
            raise SourceUnavailable(
                f"the index gives no sha256 checksum of {name} {metadata['version']}; take the "
                "wheel from another index, or from a folder: --find-links"
            )
        yield Candidate(
            name=name,
            version=metadata["version"],
            file=unquote(urlsplit(origin["url"]).path.rpartition("/")[2]),
            sha256=sha256,
            requires=tuple(metadata.get("requires_dist", ())),
        )


def _absolute(folder: str) -> str:
    """A folder as an absolute path, since pip runs elsewhere; addresses as they are."""
    return folder if "://" in folder else str(Path(folder).absolute())
