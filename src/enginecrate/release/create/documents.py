"""Make the documents of a release from its images: SBOMs, provenance, evidence, VEX."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from enginecrate.errors import InputUnreadable, ReleaseInvalid, VerificationIncomplete
from enginecrate.image.formats.oci import digest_of
from enginecrate.image.image_requests import locked_image
from enginecrate.image.sbom.collect import make_sbom
from enginecrate.image.sbom.model import Kind, Sbom
from enginecrate.image.transports.base import ImageSource
from enginecrate.manifest import MANIFEST_NAME, ManifestFile
from enginecrate.release.boot.container import ContainerRuntime, boot
from enginecrate.release.boot.requirements import Startable, startable_here
from enginecrate.release.content.image import OpenedImage, OpenedPlatform
from enginecrate.release.create.release import find_images
from enginecrate.release.create.release_image import ReleaseImage
from enginecrate.release.documents.artifacts import Attachment
from enginecrate.release.documents.evidence import (
    BootFacts,
    accuracy_evidence,
    boot_evidence,
    performance_evidence,
)
from enginecrate.release.documents.provenance import (
    LOCAL_BUILDER,
    BuildFacts,
    RunFacts,
    make_provenance,
)
from enginecrate.release.documents.sbom import sbom_attachments
from enginecrate.release.documents.vex import read_vex
from enginecrate.stacks.lock import LOCK_NAME, Lock, check_lock
from enginecrate.values import Digest, Progress, no_progress

__all__ = ["ReleaseDocuments", "ReleaseInputs", "make_documents"]

_OCI = "org.opencontainers.image."
_STACK = "io.enginecrate.stack"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseInputs:
    """The inputs of a release beside its images.

    report: of the build; a missing one is no fault unless `report_is_named`. vex: files.
    builder: URI of who built it. runtime: measures the boot time; `None`: nothing does.
    machine: facts about this one, for the evidence.
    """

    report: Path
    report_is_named: bool = False
    vex: tuple[Path, ...] = ()
    builder: str = ""
    runtime: ContainerRuntime | None = None
    machine: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ReleaseDocuments:
    """The images with their documents, and one sentence for each document that there is not."""

    images: tuple[ReleaseImage, ...]
    left_out: tuple[str, ...]


def make_documents(
    transport: ImageSource,
    file: ManifestFile,
    inputs: ReleaseInputs,
    progress: Progress = no_progress,
) -> ReleaseDocuments:
    """Make the documents of every image of the project's version.

    Raises:
        ReleaseInvalid: there is no image, one was made from another project, or a document cannot
            be made from what was given.
        VerificationFailed: an image does not become ready.
        LockStale, LockInvalid: as from `check_lock`.
        ImageError: an image cannot be read, or holds other packages than the lock.
    """
    lock = check_lock(file)
    if lock is None:
        raise ReleaseInvalid(
            f"there is no {file.root / LOCK_NAME}, and images are made from one; write it with "
            "`enginecrate lock`, and build the images again"
        )
    work = _Work(transport, file, lock, inputs)
    images = []
    for tag, image in find_images(transport, file.manifest.app.version).items():
        documents = {
            one.descriptor.digest: tuple(_documents(work, image, one, progress))
            for one in image.platforms
        }
        images.append(ReleaseImage(tag, documents))
    return ReleaseDocuments(tuple(images), tuple(dict.fromkeys(work.left_out)))


@dataclass(slots=True)
class _Work:
    transport: ImageSource
    file: ManifestFile
    lock: Lock
    inputs: ReleaseInputs
    left_out: list[str] = field(default_factory=list)


def _documents(
    work: _Work, image: OpenedImage, platform: OpenedPlatform, progress: Progress
) -> Iterator[Attachment]:
    locked = locked_image(work.lock, image.note(_STACK), platform.platform)
    digest = platform.descriptor.digest
    sbom = make_sbom(work.transport, digest, locked=locked, progress=progress)
    _check_project(work, sbom)
    yield from sbom_attachments(sbom)
    facts = BuildFacts(
        manifest=str(work.file.digest),
        lock=str(Digest.of_file(work.file.root / LOCK_NAME)),
        locked=locked,
        revision=image.note(f"{_OCI}revision"),
        source=image.note(f"{_OCI}source"),
    )
    yield make_provenance(sbom, facts, RunFacts(builder=work.inputs.builder or LOCAL_BUILDER))
    yield from _measured(work, sbom)
    yield from _boot(work, image, platform, sbom, progress)
    for path in work.inputs.vex:
        yield read_vex(_read(path), sbom, [digest_of(image.descriptor)], str(path))


def _check_project(work: _Work, sbom: Sbom) -> None:
    inside = {
        f"sha256:{one.sha256}" for one in sbom.of_kind(Kind.DATA) if one.name == MANIFEST_NAME
    }
    if work.file.digest not in inside:
        raise ReleaseInvalid(
            f"the image {sbom.subject.digest} was made from another {MANIFEST_NAME}: it holds "
            f"{', '.join(inside) or 'none'}, and the project has {work.file.digest}; build the "
            "images again"
        )


def _measured(work: _Work, sbom: Sbom) -> Iterator[Attachment]:
    """Accuracy and performance, as far as the report of the build is about this image."""
    path = work.inputs.report
    if not path.exists() and not work.inputs.report_is_named:
        work.left_out.append(f"no evidence of accuracy and performance: there is no {path}")
        return
    data = _read(path)
    makers = (("accuracy", accuracy_evidence), ("performance", performance_evidence))
    for name, make in makers:
        try:
            yield make(sbom, data, str(path))
        except ReleaseInvalid as exc:
            if work.inputs.report_is_named and name == "accuracy":
                raise
            work.left_out.append(f"no evidence of {name}: {exc}")


def _boot(
    work: _Work, image: OpenedImage, platform: OpenedPlatform, sbom: Sbom, progress: Progress
) -> Iterator[Attachment]:
    runtime, startable = work.inputs.runtime, _startable(work.inputs, image, platform)
    what = f"{image.note(_STACK)} on {platform.platform}"
    if isinstance(startable, str) or runtime is None:
        work.left_out.append(f"no evidence of the boot time of {what}: {startable}")
        return
    progress("start the image", 0, 0)
    measured_on = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    try:
        outcome = boot(work.transport, startable, runtime)
    except VerificationIncomplete as exc:
        work.left_out.append(f"no evidence of the boot time of {what}: {exc}")
        return
    facts = BootFacts(
        measured_on=measured_on,
        runtime=outcome.runtime,
        ready_seconds=outcome.seconds,
        golden_samples=outcome.golden_samples,
        memory_bytes=outcome.memory_bytes,
        machine=work.inputs.machine,
    )
    yield boot_evidence(sbom.subject, facts)


def _startable(
    inputs: ReleaseInputs, image: OpenedImage, platform: OpenedPlatform
) -> Startable | str:
    if inputs.runtime is None:
        return "no container runtime was used"
    startable = startable_here(image)
    if isinstance(startable, Startable) and startable.platform.descriptor != platform.descriptor:
        return "it is for other machines"
    return startable


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as exc:
        raise InputUnreadable(f"cannot read {path}: {exc.strerror}; check its path") from exc
