"""Debian packages, by the machine's own apt: its sources, keys and proxies, but a state of ours.

Nothing of the machine is changed, no root is needed, and other architectures than the machine's
own are resolved, too. Source: apt.conf(5), apt_preferences(5), apt-get(8).
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from enginecrate.errors import ArtifactMissing, CacheUnusable, SourceUnavailable
from enginecrate.files.atomic import scratch_folder, sweep
from enginecrate.files.locks import file_lock
from enginecrate.image.resolve.bases import ExcludedPackage
from enginecrate.image.resolve.deb_records import PlannedPackage, planned_packages, records
from enginecrate.image.resolve.tools import complaints, run_tool
from enginecrate.stacks.lock import LockedDeb

__all__ = ["DebianSource"]

_STANZA = """\
Package: {name}
Status: install ok installed
Maintainer: nobody
Architecture: {architecture}
Version: 9999:0
{provides}Description: left out

"""
_MACHINE_PREFERENCES = Path("/etc/apt/preferences")


class DebianSource:
    """The machine's package sources, for one architecture.

    folder: for apt's lists; kept between runs, so that only what changed is fetched again.
    sources: an apt sources file in place of the machine's own.
    """

    def __init__(self, folder: Path, architecture: str, *, sources: Path | None = None) -> None:
        self._folder = folder.absolute()
        self._architecture = architecture
        self._sources = sources.absolute() if sources else None
        self._updated = False

    def resolve(
        self,
        wanted: Sequence[str],
        *,
        left_out: Sequence[ExcludedPackage] = (),
        kept: Mapping[str, str] | None = None,
    ) -> tuple[LockedDeb, ...]:
        """The packages and everything that they depend on, sorted by name.

        Args:
            wanted: names of packages.
            left_out: dependencies that are not taken.
            kept: versions by name that are taken as long as the sources have them.

        Raises:
            SourceUnavailable: a source cannot be reached, is not signed, or lacks a package.
        """
        with self._state() as work:
            status = "".join(self._stanza(one) for one in left_out)
            (work / "status").write_text(status, encoding="utf-8")
            (work / "preferences").write_text(_preferences(kept or {}), encoding="utf-8")
            done = self._run(
                work, "apt-get", "install", "--simulate", "--no-install-recommends", "-y",
                *wanted, check=True,
            )  # fmt: skip
            return self._describe(work, planned_packages(done.stdout))

    def download(self, debs: Sequence[LockedDeb], folder: Path) -> dict[str, Path]:
        """Fetch packages into a folder.

        Returns:
            The files by the sha256 of the lock; of packages that the sources do not have any more,
            nothing. The files' bytes are not checked here.

        Raises:
            SourceUnavailable: a source cannot be reached, or a download failed.
        """
        with self._state() as work:
            (work / "status").touch()
            (work / "preferences").touch()
            known = {(one.name, one.version): one for one in self._show(work, debs)}
            available = [deb for deb in debs if (deb.name, deb.version) in known]
            if not available:
                return {}
            words = [f"{deb.name}={deb.version}" for deb in available]
            self._run(work, "apt-get", "download", *words, folder=folder, check=True)
        return {deb.sha256: _downloaded(folder, deb) for deb in available}

    def _describe(self, work: Path, chosen: Sequence[PlannedPackage]) -> tuple[LockedDeb, ...]:
        described = reversed(
            list(self._show(work, chosen))
        )  # of two sources, apt's first one counts
        records_by_plan = {PlannedPackage(one.name, one.version): one for one in described}
        missing = [one for one in chosen if one not in records_by_plan]
        if missing:
            raise SourceUnavailable(
                f"apt has no record of {missing[0].name} {missing[0].version}; run the command "
                "again: the package source was changing"
            )
        return tuple(records_by_plan[one] for one in chosen)

    def _show(
        self, work: Path, debs: Sequence[PlannedPackage] | Sequence[LockedDeb]
    ) -> Iterator[LockedDeb]:
        words = [f"{deb.name}={deb.version}" for deb in debs]
        return records(self._run(work, "apt-cache", "show", *words).stdout)

    def _stanza(self, left_out: ExcludedPackage) -> str:
        provides = f"Provides: {', '.join(left_out.provides)}\n" if left_out.provides else ""
        return _STANZA.format(
            name=left_out.name, architecture=self._architecture, provides=provides
        )

    @contextmanager
    def _state(self) -> Iterator[Path]:
        """A folder for this call; the lists are fresh, and other processes wait."""
        try:
            (self._folder / "lists" / "partial").mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as exc:
            raise CacheUnusable(
                f"cannot use {self._folder}: {exc.strerror}; choose another folder with the "
                "setting cache_dir"
            ) from exc
        with file_lock(self._folder / "lock", keep=True):
            sweep(self._folder)
            with scratch_folder(self._folder, "run") as work:
                (work / "status").touch()
                (work / "preferences").touch()
                if not self._updated:
                    self._run(work, "apt-get", "update", "-q", check=True)
                    self._updated = True
                yield work

    def _run(
        self, work: Path, tool: str, *words: str, folder: Path | None = None, check: bool = False
    ) -> subprocess.CompletedProcess[str]:
        done = run_tool([tool, *words, *self._options(work)], folder=folder or work)
        if check and done.returncode:
            raise SourceUnavailable(
                f"apt cannot resolve or fetch Debian packages for {self._architecture}: "
                f"{complaints(done)}; correct the machine's package sources and proxies, or name "
                "others with --apt-sources"
            )
        return done

    def _options(self, work: Path) -> Iterator[str]:
        values = {
            "APT::Architecture": self._architecture,
            "APT::Architectures": self._architecture,
            "APT::Get::AllowUnauthenticated": "false",
            "APT::Sandbox::User": "root",
            "APT::Update::Error-Mode": "any",
            "Acquire::AllowInsecureRepositories": "false",
            "Acquire::Languages": "none",
            "Acquire::Retries": "3",
            "Debug::NoLocking": "true",
            "Dir::Cache": f"{work}/cache",
            "Dir::Etc::preferences": f"{work}/preferences",
            "Dir::State": f"{work}/state",
            "Dir::State::lists": f"{self._folder}/lists",
            "Dir::State::status": f"{work}/status",
        }
        if self._sources is not None:
            values |= {"Dir::Etc::sourcelist": str(self._sources), "Dir::Etc::sourceparts": "-"}
        for name, value in values.items():
            yield from ("-o", f"{name}={value}")


def _preferences(kept: Mapping[str, str]) -> str:
    """Pins of versions before the machine's own; one that no source has is passed over."""
    pins = [
        f"Package: {name}\nPin: version {version}\nPin-Priority: 1001\n"
        for name, version in sorted(kept.items())
    ]
    try:
        own = _MACHINE_PREFERENCES.read_text(encoding="utf-8")
    except OSError:
        own = ""
    return "\n".join([*pins, own])


def _downloaded(folder: Path, deb: LockedDeb) -> Path:
    """Apt writes the epoch's colon as %3a."""
    version = deb.version.replace(":", "%3a")
    path = folder / f"{deb.name}_{version}_{deb.architecture}.deb"
    if not path.is_file():
        raise ArtifactMissing(f"apt fetched {deb.name} {deb.version}, but wrote no {path.name}")
    return path
