"""Sources of packages: the machine's apt and pip, and those that the user names beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock

from enginecrate.errors import InputUnreadable, SourceUnavailable
from enginecrate.image.resolve.debian_source import DebianSource
from enginecrate.image.resolve.target import Target, debian_architecture
from enginecrate.image.resolve.wheel_index import WheelIndex
from enginecrate.settings import Settings

__all__ = ["PackageSources"]


@dataclass(slots=True)
class PackageSources:
    """The sources of one run.

    folder: where apt's lists are kept; a cache.
    apt_sources: an apt sources file in place of the machine's own.
    extra_index_urls, find_links: Python indexes and folders of wheels beside pip's own.
    offline: ask none of them.
    """

    folder: Path
    apt_sources: Path | None = None
    extra_index_urls: tuple[str, ...] = ()
    find_links: tuple[str, ...] = ()
    offline: bool = False
    _archives: dict[str, DebianSource] = field(default_factory=dict, init=False)
    _guard: Lock = field(default_factory=Lock, init=False, repr=False)

    @classmethod
    def of(
        cls,
        settings: Settings,
        *,
        extra_index_urls: Sequence[str] = (),
        find_links: Sequence[str] = (),
        offline: bool = False,
    ) -> PackageSources:
        """The sources that the settings name, or options in place of them.

        Settings hold several words with spaces between, as pip's own variables do; an option is
        one word, whatever is in it.

        Raises:
            InputUnreadable: there is no such file of apt sources.
        """
        apt_sources = Path(settings.apt_sources) if settings.apt_sources else None
        if apt_sources is not None and not apt_sources.is_file():
            raise InputUnreadable(
                f"there is no apt sources file {apt_sources}; check the setting apt_sources"
            )
        return cls(
            settings.cache_path / "artifacts" / "apt",
            apt_sources=apt_sources,
            extra_index_urls=tuple(extra_index_urls or settings.extra_index_url.split()),
            find_links=tuple(find_links or settings.find_links.split()),
            offline=offline,
        )

    def debs(self, platform: str) -> DebianSource:
        """Debian packages for a platform. Raises `SourceUnavailable`: offline."""
        self._refuse("Debian packages")
        architecture = debian_architecture(platform)
        with self._guard:
            if architecture not in self._archives:
                self._archives[architecture] = DebianSource(
                    self.folder / architecture, architecture, sources=self.apt_sources
                )
            return self._archives[architecture]

    def wheels(self, target: Target) -> WheelIndex:
        """Python wheels for a target. Raises `SourceUnavailable`: offline."""
        self._refuse("Python packages")
        return WheelIndex(
            target, extra_index_urls=self.extra_index_urls, find_links=self.find_links
        )

    def _refuse(self, what: str) -> None:
        if self.offline:
            raise SourceUnavailable(
                f"{what} must be looked up, and --offline forbids it; run the command again "
                "without --offline, where the package sources can be reached"
            )
