"""SLSA provenance: the inputs of an image, and its builder.

`buildDefinition` is the same for each build of the same project. `runDetails` tells of one run, so
provenance is attached to an image and never inside of one.

Source: SLSA v1.0, "Provenance" (predicate type `https://slsa.dev/provenance/v1`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import msgspec

from enginecrate.image.sbom.model import Component, Kind, Sbom
from enginecrate.manifest import MANIFEST_NAME
from enginecrate.release.documents.artifacts import Attachment
from enginecrate.release.documents.statements import (
    Resource,
    attach_statement,
    check_time,
    image_resource,
)
from enginecrate.stacks.lock import LOCK_NAME, LockedImage
from enginecrate.version import __version__

__all__ = ["BUILD_TYPE", "LOCAL_BUILDER", "PROVENANCE", "BuildFacts", "RunFacts", "make_provenance"]

PROVENANCE = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "https://enginecrate.io/build-types/image/v1"
"""The type that says how to read `externalParameters` and the rest: docs/sbom.md."""
LOCAL_BUILDER = "https://enginecrate.io/builders/local"
"""A machine without anyone who vouches for it: SLSA build level 1 at most."""

_INPUTS = (Kind.BASE, Kind.DEB, Kind.WHEEL, Kind.MODEL, Kind.PLAN, Kind.DATA)


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildFacts:
    """The request of a build.

    manifest, lock: digests of the two files of the project. locked: of the image's stack and
    platform. device: of an image for one GPU. options: of the command, by name.
    revision: git commit of the project when everything was committed, else empty; source: its URL.
    """

    manifest: str
    lock: str
    locked: LockedImage
    device: str = ""
    options: Mapping[str, str] = field(default_factory=dict)
    revision: str = ""
    source: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFacts:
    """One run. builder: URI of who built it, as verifiers know it. Times: RFC 3339."""

    builder: str = LOCAL_BUILDER
    invocation: str = ""
    started: str = ""
    finished: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)


class _File(msgspec.Struct, frozen=True):
    path: str
    digest: dict[str, str]


class _External(msgspec.Struct, frozen=True, omit_defaults=True):
    manifest: _File
    stack: str
    platform: str
    device: str = ""
    options: dict[str, str] = {}


class _Internal(msgspec.Struct, frozen=True):
    lock: _File
    base: str
    interpreter: str
    compression: str


class _Definition(msgspec.Struct, frozen=True, rename="camel"):
    build_type: str
    external_parameters: _External
    internal_parameters: _Internal
    resolved_dependencies: tuple[Resource, ...]


class _Builder(msgspec.Struct, frozen=True):
    id: str
    version: dict[str, str]


class _Metadata(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    invocation_id: str = ""
    started_on: str = ""
    finished_on: str = ""


class _Run(msgspec.Struct, frozen=True):
    builder: _Builder
    metadata: _Metadata


class _Provenance(msgspec.Struct, frozen=True, rename="camel"):
    build_definition: _Definition
    run_details: _Run


def make_provenance(sbom: Sbom, build: BuildFacts, run: RunFacts | None = None) -> Attachment:
    """The provenance of one platform's image.

    Args:
        sbom: of the image: what really is in it, with digests.
        build: what was asked for.
        run: of this build; without one nothing that differs from run to run is said.

    Raises:
        ReleaseInvalid: a time is not one.
    """
    run = run or RunFacts()
    times = [(run.started, "start of the build"), (run.finished, "end of the build")]
    started, finished = (check_time(text, where) if text else "" for text, where in times)
    predicate = _Provenance(
        build_definition=_definition(sbom, build),
        run_details=_Run(
            builder=_Builder(run.builder, {**run.versions, "enginecrate": __version__}),
            metadata=_Metadata(run.invocation, started, finished),
        ),
    )
    return attach_statement("provenance", [image_resource(sbom.subject)], PROVENANCE, predicate)


def _definition(sbom: Sbom, build: BuildFacts) -> _Definition:
    locked = build.locked
    return _Definition(
        build_type=BUILD_TYPE,
        external_parameters=_External(
            manifest=_File(MANIFEST_NAME, _sha256(build.manifest)),
            stack=locked.stack,
            platform=sbom.subject.platform,
            device=build.device,
            options=dict(build.options),
        ),
        internal_parameters=_Internal(
            lock=_File(LOCK_NAME, _sha256(build.lock)),
            base=locked.base,
            interpreter=locked.interpreter,
            compression=locked.compression,
        ),
        resolved_dependencies=tuple(_dependencies(sbom, build)),
    )


def _dependencies(sbom: Sbom, build: BuildFacts) -> Iterator[Resource]:
    """The project, then every package and file. The bill is sorted, so this is."""
    if build.revision:
        where = f"git+{build.source}" if build.source else "git+project"
        yield Resource(
            name="project",
            uri=f"{where}@{build.revision}",
            digest={"gitCommit": build.revision},
        )
    yield from (_resource(one) for one in sbom.of_kind(*_INPUTS) if not one.from_base)


def _resource(one: Component) -> Resource:
    digest = {"sha256": one.sha256} if one.sha256 else {}
    return Resource(name=one.name, uri=one.purl, digest=digest, annotations={"kind": str(one.kind)})


def _sha256(digest: str) -> dict[str, str]:
    return {"sha256": digest.removeprefix("sha256:")}
