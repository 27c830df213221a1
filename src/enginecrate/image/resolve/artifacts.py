"""The cache of packages: every file under its sha256, checked whenever it is taken."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from enginecrate.errors import ArtifactChanged, ArtifactMissing, CacheUnusable
from enginecrate.image.resolve.bases import load_base
from enginecrate.image.resolve.fetch_jobs import WORKERS, batches, run_jobs
from enginecrate.image.resolve.inputs import StoredInputs
from enginecrate.image.resolve.package_sources import PackageSources
from enginecrate.image.resolve.target import Target
from enginecrate.image.resolve.wheel_index import WheelIndex
from enginecrate.image.resolve.work_folders import WorkFolders
from enginecrate.stacks.lock import LockedDeb, LockedImage, LockedWheel
from enginecrate.values import Digest, Progress, no_progress

__all__ = ["Artifact", "ArtifactCache"]

Artifact = LockedDeb | LockedWheel
_Tell = Callable[[], None]

_DAY = 86_400.0
_NEWEST = "debian-12"
"""The base with the newest C library."""


class ArtifactCache:
    """Packages by content. Several processes may use one folder: files appear whole.

    folder: files lie in `artifacts/sha256/<hex>` under it.
    sources: where missing ones are fetched; default: the machine's apt and pip.
    inputs: stored inputs (`lock --vendor`), which are asked first.
    """

    def __init__(
        self,
        folder: Path,
        *,
        sources: PackageSources | None = None,
        inputs: StoredInputs | None = None,
    ) -> None:
        self._folder = folder.absolute() / "artifacts"
        self.sources = sources or PackageSources(self._folder / "apt")
        self._inputs = inputs
        self._works = WorkFolders(self._folder)

    def path(self, artifact: Artifact) -> Path:
        """The path of a file, which need not be there."""
        return self._folder / "sha256" / artifact.sha256

    def has(self, artifact: Artifact) -> bool:
        """True if a file is there; its content is not checked."""
        return self.path(artifact).is_file()

    def obtain_all(self, image: LockedImage, progress: Progress = no_progress) -> dict[str, Path]:
        """Every package of an image, checked: from the cache, stored inputs, or the sources.

        Args:
            image: what it is made of.
            progress: told the bytes that are there; packages, while the lock does not know their
                sizes.

        Returns:
            The files by sha256.

        Raises:
            ArtifactMissing: a file is nowhere; the message names all of them.
            ArtifactChanged: a source has another file of this name and version.
            SourceUnavailable: a source cannot be reached.
            CacheUnusable: the cache cannot be written.
        """
        artifacts = image.packages
        with ThreadPoolExecutor(WORKERS) as pool:
            soundness = list(pool.map(self._is_sound, artifacts))
        wanted = [one for one, good in zip(artifacts, soundness, strict=True) if not good]
        self._take_abandoned(wanted)
        tell = self._teller(image, wanted, progress)
        tell()
        if self._inputs is not None:
            self._take_stored(self._inputs, self._missing(wanted), tell)
        if missing := self._missing(wanted):
            self._fetch(missing, image.platform, tell)
        return {one.sha256: self.path(one) for one in artifacts}

    def _missing(self, wanted: Iterable[Artifact]) -> list[Artifact]:
        return [one for one in wanted if not self.has(one)]

    def _teller(self, image: LockedImage, wanted: Sequence[Artifact], progress: Progress) -> _Tell:
        step = f"packages of {image.stack} for {image.platform}"
        artifacts, total = image.packages, sum(one.size for one in image.packages)
        counted = not all(one.size for one in artifacts)

        def tell() -> None:
            missing = self._missing(wanted)
            if counted:
                progress(step, len(artifacts) - len(missing), len(artifacts))
                return
            left = sum(one.size for one in missing)
            progress(step, total - left + min(left, self._works.size()), total)

        return tell

    def _take_abandoned(self, wanted: Sequence[Artifact]) -> None:
        """Keep what a killed fetch had finished; its folder is removed.

        When nothing is wanted, another process may still want it for a day.
        """
        try:
            for work in self._works.abandoned(older_than=0 if wanted else _DAY):
                known = {one.sha256: one for one in self._missing(wanted)}
                sizes = {one.size for one in known.values()}
                for file in [*work.rglob("*.whl"), *work.rglob("*.deb")]:
                    if 0 in sizes or file.stat().st_size in sizes:
                        found = known.get(Digest.of_file(file).hex)
                        if found is not None:
                            self._put(file, found)
        except OSError as exc:
            raise self._unusable(exc) from exc

    def _is_sound(self, artifact: Artifact) -> bool:
        """True if the cache has the file; a damaged one is removed."""
        path = self.path(artifact)
        try:
            if Digest.of_file(path).hex == artifact.sha256:
                return True
            path.unlink(missing_ok=True)
        except FileNotFoundError:
            pass
        except OSError as exc:
            raise self._unusable(exc) from exc
        return False

    def _unusable(self, exc: OSError) -> CacheUnusable:
        return CacheUnusable(
            f"cannot use {self._folder}: {exc.strerror}; choose another folder with the setting "
            "cache_dir"
        )

    def _take_stored(self, inputs: StoredInputs, wanted: Sequence[Artifact], tell: _Tell) -> None:
        def take(artifact: Artifact) -> None:
            with self._work() as work:
                if inputs.fetch(artifact, work / "stored"):
                    self._keep(work / "stored", artifact)

        run_jobs([partial(take, artifact) for artifact in wanted], tell)

    def _fetch(self, missing: Sequence[Artifact], platform: str, tell: _Tell) -> None:
        if self.sources.offline:
            raise ArtifactMissing(_nowhere(missing, "in the cache, and --offline forbids to fetch"))
        debs = [one for one in missing if isinstance(one, LockedDeb)]
        wheels = [one for one in missing if isinstance(one, LockedWheel)]
        if debs:
            run_jobs([partial(self._fetch_debs, debs, platform)], tell)
        if wheels:
            self._fetch_wheels(wheels, self.sources.wheels(_fetching(platform)), tell)

    def _fetch_debs(self, debs: Sequence[LockedDeb], platform: str) -> None:
        with self._work() as work:
            found = self.sources.debs(platform).download(debs, work)
            for deb in debs:
                if deb.sha256 in found:
                    self._keep(found[deb.sha256], deb)
        gone = [deb for deb in debs if deb.sha256 not in found]
        if gone:
            raise ArtifactMissing(_nowhere(gone, "at the package sources any more"))

    def _fetch_wheels(self, wheels: Sequence[LockedWheel], index: WheelIndex, tell: _Tell) -> None:
        run_jobs([partial(self._download, batch, index) for batch in batches(wheels)], tell)
        # One that is missing or changed makes pip give up a whole batch: which one is it?
        for wheel in [one for one in wheels if not self.has(one)]:
            complaint = self._download([wheel], index)
            if not self.has(wheel):
                # Without its checksum pip shows what the index has under this name and version.
                self._download([wheel], index, hashed=False)
                raise ArtifactMissing(_nowhere([wheel], "at any index that pip asks", complaint))

    def _download(
        self, wheels: Sequence[LockedWheel], index: WheelIndex, *, hashed: bool = True
    ) -> str:
        with self._work() as work:
            complaint = index.download(wheels, work, hashed=hashed)
            for wheel in wheels:
                if (work / wheel.file).is_file():
                    self._keep(work / wheel.file, wheel)
        return complaint

    def _keep(self, file: Path, artifact: Artifact) -> None:
        """Move a fetched file into the cache, if it is the right one."""
        found = Digest.of_file(file).hex
        if found != artifact.sha256:
            raise ArtifactChanged(
                f"{artifact.name} {artifact.version} ({artifact.file}) is not the file that was "
                f"locked: the lock has sha256 {artifact.sha256}, the source has {found}; find out "
                "who changed it; if it is right, lock again: enginecrate lock --upgrade"
            )
        self._put(file, artifact)

    def _put(self, file: Path, artifact: Artifact) -> None:
        (self._folder / "sha256").mkdir(parents=True, exist_ok=True, mode=0o700)
        file.chmod(0o644)
        file.replace(self.path(artifact))

    @contextmanager
    def _work(self) -> Iterator[Path]:
        """A folder beside the files, from which they are moved at once."""
        with ExitStack() as stack:
            try:
                work = stack.enter_context(self._works.make())
            except OSError as exc:
                raise self._unusable(exc) from exc
            yield work


def _fetching(platform: str) -> Target:
    """A machine that any locked wheel fits: checksums say which file, tags need only allow it."""
    base = load_base(_NEWEST)
    return Target(platform, f"{base.python}.99", base.glibc)


def _nowhere(artifacts: Iterable[Artifact], where: str, why: str = "") -> str:
    names = ", ".join(f"{one.name} {one.version} ({one.file}, sha256 {one.sha256})"
                      for one in artifacts)  # fmt: skip
    because = f" ({why})" if why else ""
    return (
        f"not {where}: {names}{because}; take newer versions with `enginecrate lock --upgrade`, or "
        "name inputs that `enginecrate lock --vendor` stored: --inputs"
    )
