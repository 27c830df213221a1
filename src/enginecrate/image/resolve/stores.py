"""The stores of packages, as settings and flags name them: the cache, and stored inputs."""

from __future__ import annotations

from collections.abc import Sequence

from enginecrate.image.resolve.artifacts import ArtifactCache
from enginecrate.image.resolve.inputs import StoredInputs
from enginecrate.image.resolve.package_sources import PackageSources
from enginecrate.image.transports.base import ImageSource, ImageTarget
from enginecrate.settings import Settings
from enginecrate.values import ImageRef

__all__ = ["open_cache", "open_inputs", "open_inputs_target"]

_TAG = "inputs"


def open_cache(
    settings: Settings,
    *,
    offline: bool = False,
    inputs: str | None = None,
    extra_index_urls: Sequence[str] = (),
    find_links: Sequence[str] = (),
) -> ArtifactCache:
    """The cache of packages with its sources.

    Args:
        settings: `cache_dir`, and the package sources.
        offline: fetch nothing.
        inputs: where `lock --vendor` stored packages: `oci:DIR[:TAG]`, `registry/repository[:TAG]`.
        extra_index_urls: in place of those that the settings name.
        find_links: the same.

    Raises:
        ImageNotFound, ImageInvalid, ReferenceInvalid, RegistryUnavailable: as for `inputs`.
    """
    sources = PackageSources.of(
        settings, extra_index_urls=extra_index_urls, find_links=find_links, offline=offline
    )
    stored = StoredInputs(*open_inputs(inputs)) if inputs else None
    return ArtifactCache(settings.cache_path, sources=sources, inputs=stored)


def open_inputs(text: str) -> tuple[ImageSource, str]:
    """The transport of stored inputs, and their tag: `inputs`, unless the text has one.

    Args:
        text: `oci:DIR[:TAG]`, a folder, or `registry/repository[:TAG]`.
    """
    from enginecrate.image.transports.reference import find_transport

    transport, name = find_transport(text)
    return transport, name or _TAG


def open_inputs_target(text: str) -> tuple[ImageTarget, str]:
    """The same, to write them there; a folder is made if need be."""
    from enginecrate.image.transports.reference import open_target

    if not text.startswith("oci:") and not _is_reference(text):
        text = f"oci:{text}"
    transport, name = open_target(text)
    return transport, name or _TAG


def _is_reference(text: str) -> bool:
    try:
        ImageRef.parse(text)
    except ValueError:
        return False
    return True
