"""Verify a release: everything about one image, as rows that passed, failed or were skipped.

Nothing outside of the place is asked: no transparency log, no time stamps, no service. It proves
who signed, and that nothing was changed since; it does not prove when.
"""

from __future__ import annotations

import platform as machine
from collections.abc import Callable
from dataclasses import dataclass, field

from enginecrate.errors import EnginecrateError, ImageNotFound, ReferenceInvalid
from enginecrate.image.oci import Descriptor, digest_of
from enginecrate.image.place import Place
from enginecrate.image.tags import release_tag
from enginecrate.release.booting import ContainerRuntime, boot
from enginecrate.release.bundles import SIGN_PREDICATE
from enginecrate.release.checks import Check, VerifyReport, failed, passed, row, skipped
from enginecrate.release.contents import APP
from enginecrate.release.found import read_bundles, read_signatures
from enginecrate.release.judging import Judgement, judge
from enginecrate.release.listing import attachment_problems, read_listed, statement_problems
from enginecrate.release.manifest import ListedImage, ReleaseManifest, read_release
from enginecrate.release.opened import OpenedImage, OpenedPlatform, open_image
from enginecrate.release.packages import (
    installed_packages,
    named_packages,
    package_problems,
)
from enginecrate.release.plans import find_plans, plan_problems
from enginecrate.release.stored import Stored, check_platform, read_everything, read_layers
from enginecrate.release.trust import Trust
from enginecrate.values import Digest, Progress, no_progress

__all__ = ["Audit", "VerifyOptions", "verify_image"]

_VERSION = "org.opencontainers.image.version"
_OUR_VERSION = "io.enginecrate.version"
_APP = "io.enginecrate.app"
_RELEASE = "io.enginecrate.release"

Audit = Callable[[Place, str, str], list[str]]
"""Looks at the hardening of an image (place, digest, platform); gives findings above `info`."""


@dataclass(frozen=True, slots=True)
class VerifyOptions:
    """How far verification goes.

    runtime: what boots the image; `None`: there is nothing, and the check is skipped.
    no_boot: why it is not booted, when the user wants that.
    audit: of the hardening; `None`: it is skipped.
    """

    runtime: ContainerRuntime | None = None
    no_boot: str = ""
    audit: Audit | None = None
    memory_bytes: int = 2 << 30
    boot_seconds: float = 180


@dataclass(slots=True)
class _Case:
    """One image under examination."""

    place: Place
    name: str
    trust: Trust
    image: OpenedImage
    stored: Stored = field(default_factory=Stored)
    checks: list[Check] = field(default_factory=list)

    @property
    def digest(self) -> Digest:
        return digest_of(self.image.descriptor)

    @property
    def version(self) -> str:
        return self.image.note(_VERSION) or self.image.note(_OUR_VERSION)


def verify_image(
    place: Place,
    name: str,
    trust: Trust,
    options: VerifyOptions | None = None,
    progress: Progress = no_progress,
) -> VerifyReport:
    """Verify the image that a tag or digest names, with all that its release lists.

    Args:
        place: where it is.
        name: tag or digest.
        trust: whose signatures count.
        options: default: without boot and without an audit of its hardening.
        progress: counts bytes of layers.

    Returns:
        The rows. A fault is a row and no exception; only an image that is not there raises.

    Raises:
        ImageNotFound: nothing has this name.
        RegistryUnavailable, RegistryDenied: the registry does not answer.
    """
    options = options or VerifyOptions()
    descriptor = place.resolve(name)
    try:
        case = _Case(place, name, trust, open_image(place, descriptor))
    except EnginecrateError as exc:
        return VerifyReport(
            reference=f"{place.name} {name}",
            digest=descriptor.digest,
            checks=(failed("blobs", str(exc)), *_unreachable()),
        )
    case.checks.append(passed("reference", f"{name} is {descriptor.digest}"))
    case.stored = read_layers(place, case.image, progress)
    release = _examine_release(case)
    _examine_stored(case, release)
    _examine_image_signatures(case, release)
    listed = release.image(case.digest) if release else None
    _examine_listed(case, release, listed)
    _examine_contents(case, release, listed)
    _examine_hardening(case, options)
    _examine_boot(case, release, options)
    return VerifyReport(
        reference=f"{place.name} {name}",
        digest=descriptor.digest,
        app=release.app if release else case.image.note(_APP),
        version=release.version if release else case.version,
        checks=tuple(case.checks),
    )


def _unreachable() -> list[Check]:
    names = ("release", "signatures", "attachments", "statements", "sbom", "plans", "hardening")
    return [skipped(name, "the image cannot be read") for name in (*names, "boot", "golden")]


def _examine_release(case: _Case) -> ReleaseManifest | None:
    """Find the release manifest, and see that it is signed and about this image."""
    version = case.version
    tag = case.image.note(_RELEASE)
    try:
        tag = tag or release_tag(version)
        descriptor, release = read_release(case.place, tag)
    except ImageNotFound:
        words = f"there is no release manifest {tag}; it was removed, or never made: "
        case.checks.append(failed("release", words + "enginecrate release create"))
        return None
    except ReferenceInvalid:
        words = "the image names no version, so its release manifest cannot be found; it was not "
        case.checks.append(failed("release", words + "made by enginecrate image build"))
        return None
    except EnginecrateError as exc:
        case.checks.append(failed("release", str(exc)))
        return None
    problems = [
        *_signature_problems(case, descriptor, f"the release manifest {tag}", release, release),
        *_identity_problems(case, release, tag),
    ]
    good = f"{tag} is signed and lists this image: {release.app} {release.version}"
    case.checks.extend(row("release", problems, good))
    return release


def _identity_problems(case: _Case, release: ReleaseManifest, tag: str) -> list[str]:
    problems = []
    if release.image(case.digest) is None:
        listed = release.tagged(case.name)
        if listed is not None:
            problems.append(
                f"the tag {case.name} was moved: it names {case.digest}, and the signed release "
                f"lists {listed.digest}"
            )
        else:
            others = ", ".join(f"{one.tag} {one.digest}" for one in release.images)
            problems.append(
                f"{tag} does not list the image {case.digest}; it is the manifest of another or "
                f"an older release: {others}"
            )
    for what, found, wanted in (
        ("version", case.version, release.version),
        ("app", case.image.note(_APP) or release.app, release.app),
    ):
        if found != wanted:
            problems.append(
                f"{tag} is the release of {what} {wanted}, and the image is of {what} "
                f"{found or 'unknown'}"
            )
    return problems


def _signature_problems(
    case: _Case,
    descriptor: Descriptor,
    what: str,
    release: ReleaseManifest | None,
    version: ReleaseManifest | str,
) -> list[str]:
    """Each format that the release promises must be signed by enough keys."""
    number = version.version if isinstance(version, ReleaseManifest) else version
    digest = digest_of(descriptor)
    problems = []
    for form in release.signatures if release else ("cosign", "bundle"):
        judged = _judge(case, digest, form, number)
        kind = "under the tag sha256-<hex>.sig" if form == "cosign" else "as a sigstore bundle"
        problem = judged.problem(what, f"{what} is not signed: there is no signature {kind}")
        if problem:
            problems.append(problem)
    return problems


def _judge(case: _Case, digest: Digest, form: str, version: str) -> Judgement:
    if form == "cosign":
        found, unreadable = read_signatures(case.place, digest)
    else:
        every, unreadable = read_bundles(case.place, digest)
        found = [one for one in every if one.predicate_type == SIGN_PREDICATE]
    return judge(found, unreadable, {digest}, case.trust, version)


def _examine_stored(case: _Case, release: ReleaseManifest | None) -> None:
    """Every byte: layers, configurations, and what is attached."""
    subjects = {case.digest, *(digest_of(one.descriptor) for one in case.image.platforms)}
    if release:
        subjects.add(digest_of(case.place.resolve(release.tag)))
    count, problems = read_everything(case.place, sorted(subjects))
    problems = [*case.stored.problems, *problems]
    listed = release.image(case.digest) if release else None
    if release and listed is None:
        listed = release.tagged(case.name)
    for platform in case.image.platforms:
        problems += _layer_problems(platform, listed)
    total = case.stored.blobs + count + 2 * len(case.image.platforms)
    case.checks.extend(row("blobs", problems, f"{total} blobs are what their digests say"))


def _layer_problems(platform: OpenedPlatform, listed: ListedImage | None) -> list[str]:
    for one in listed.platforms if listed else ():
        if one.platform == platform.platform:
            return check_platform(platform, one.layers)
    return []


def _examine_image_signatures(case: _Case, release: ReleaseManifest | None) -> None:
    problems = _signature_problems(case, case.image.descriptor, "the image", release, case.version)
    signers = _judge(case, case.digest, "bundle", case.version).names
    case.checks.extend(row("signatures", problems, f"signed by {signers}"))


def _examine_listed(
    case: _Case, release: ReleaseManifest | None, listed: ListedImage | None
) -> None:
    if release is None or listed is None:
        for name in ("attachments", "statements"):
            case.checks.append(skipped(name, "no release manifest lists what belongs here"))
        return
    count = len(listed.attachments)
    case.checks.extend(
        row("attachments", attachment_problems(case.place, listed),
            f"all {count} are attached, and are what the release lists")
    )  # fmt: skip
    statements = sum(bool(one.predicate_type) for one in listed.attachments)
    case.checks.extend(
        row("statements", statement_problems(case.place, listed, case.trust, release.version),
            f"all {statements} are signed and about this image")
    )  # fmt: skip


def _examine_contents(
    case: _Case, release: ReleaseManifest | None, listed: ListedImage | None
) -> None:
    """The SBOMs name what is in the image; plans, manifest and golden samples are the release's."""
    if release is None or listed is None:
        case.checks.append(skipped("sbom", "no release manifest lists an SBOM"))
        case.checks.append(skipped("plans", "no release manifest lists the plans"))
        return
    case.checks.extend(_sbom_rows(case, listed))
    problems: list[str] = []
    count = 0
    for platform in listed.platforms:
        contents = case.stored.contents.get(platform.digest)
        if contents is None:
            problems.append(f"{platform.platform} of the release is not in this image")
            continue
        try:
            found = find_plans(contents)
        except EnginecrateError as exc:
            problems.append(str(exc))
            continue
        count += len(found)
        problems += plan_problems(platform.platform, found, platform.plans)
        problems += _file_problems(contents.files, release)
    case.checks.extend(row("plans", problems, f"{count} plans, and all files, are the release's"))


def _file_problems(files: dict[str, Digest], release: ReleaseManifest) -> list[str]:
    wanted = {"enginecrate.toml": release.manifest, "enginecrate.lock": release.lock}
    wanted |= {one.path: one.digest for one in release.golden}
    return [
        f"{path} in the image is {files.get(APP + path, 'missing')}, and the release lists {digest}"
        for path, digest in wanted.items()
        if digest and files.get(APP + path) != digest
    ]


def _sbom_rows(case: _Case, listed: ListedImage) -> list[Check]:
    problems: list[str] = []
    boms = [one for one in listed.attachments if one.kind.startswith("sbom-")]
    if not boms:
        return [failed("sbom", "the release lists no SBOM; make it again")]
    for one in boms:
        contents = case.stored.contents.get(one.subject)
        if contents is None and len(case.stored.contents) == 1:
            contents = next(iter(case.stored.contents.values()))
        if contents is None:
            problems.append(f"{one.kind} is about {one.subject}, which is no platform of the image")
            continue
        try:
            named = named_packages(read_listed(case.place, one), one.kind)
        except EnginecrateError as exc:
            problems.append(f"{one.kind} cannot be read: {exc}")
            continue
        problems += package_problems(one.kind, named, installed_packages(contents.kept))
    return row("sbom", problems, "names every package that the image holds, and no others")


def _examine_hardening(case: _Case, options: VerifyOptions) -> None:
    if options.audit is None:
        case.checks.append(skipped("hardening", "the audit is not at hand"))
        return
    problems: list[str] = []
    for platform in case.image.platforms:
        try:
            problems += options.audit(case.place, platform.descriptor.digest, platform.platform)
        except EnginecrateError as exc:
            problems.append(f"{platform.platform} cannot be audited: {exc}")
    case.checks.extend(row("hardening", problems, "nothing above info was found"))


def _examine_boot(case: _Case, release: ReleaseManifest | None, options: VerifyOptions) -> None:
    platform = _platform_here(case.image)
    reason = options.no_boot
    if any(one.status == "failed" for one in case.checks):
        reason = "something above failed, so the image was not started"
    elif not reason and options.runtime is None:
        reason = "there is no podman or docker here that works"
    elif not reason and platform is None:
        reason = f"the image is not for this machine ({machine.machine()})"
    if reason or platform is None or options.runtime is None:
        case.checks.append(skipped("boot", reason))
        case.checks.append(skipped("golden", reason))
        return
    try:
        outcome = boot(
            case.place, platform, options.runtime,
            memory_bytes=options.memory_bytes, seconds=options.boot_seconds,
        )  # fmt: skip
    except EnginecrateError as exc:
        case.checks.append(failed("boot", str(exc)))
        case.checks.append(skipped("golden", "the image did not become ready"))
        return
    where = f"in {outcome.runtime}: read-only, no capabilities, no network"
    case.checks.append(passed("boot", f"ready after {outcome.seconds:.1f} s {where}"))
    case.checks.append(_golden(outcome.golden_samples, release))


def _golden(samples: int, release: ReleaseManifest | None) -> Check:
    if samples:
        return passed("golden", f"{samples} golden samples gave the expected results")
    if release and release.golden:
        return failed("golden", "the release lists golden samples, and the container proved none")
    return skipped("golden", "the app has no golden samples, so nothing is proven")


def _platform_here(image: OpenedImage) -> OpenedPlatform | None:
    names = {"x86_64": "amd64", "aarch64": "arm64"}
    here = f"linux/{names.get(machine.machine(), machine.machine())}"
    return next((one for one in image.platforms if one.platform.startswith(here)), None)
