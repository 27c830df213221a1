"""Resolving an image's needs to packages with versions and checksums, and fetching their files.

`resolve_lock` makes the lock, `ArtifactCache` keeps the files, `store_inputs` vendors them. The
command line and `assemble` use it; the parts behind these names are its own.
"""

from enginecrate.image.resolve.artifacts import Artifact, ArtifactCache
from enginecrate.image.resolve.bases import Base, base_of, load_base
from enginecrate.image.resolve.images import check_images, image_section, resolve_image
from enginecrate.image.resolve.inputs import INPUTS, StoredInputs, store_inputs
from enginecrate.image.resolve.lock import LockResolution, Refusal, lock_versions, resolve_lock
from enginecrate.image.resolve.package_sources import PackageSources
from enginecrate.image.resolve.stores import open_cache, open_inputs, open_inputs_target
from enginecrate.image.resolve.target import PLATFORMS, Target

__all__ = [
    "INPUTS",
    "PLATFORMS",
    "Artifact",
    "ArtifactCache",
    "Base",
    "LockResolution",
    "PackageSources",
    "Refusal",
    "StoredInputs",
    "Target",
    "base_of",
    "check_images",
    "image_section",
    "load_base",
    "lock_versions",
    "open_cache",
    "open_inputs",
    "open_inputs_target",
    "resolve_image",
    "resolve_lock",
    "store_inputs",
]
