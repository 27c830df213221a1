"""`enginecrate release`: freeze a version: SBOMs, provenance, evidence, manifest, signatures."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from enginecrate.cli.release.sign import counted, describe, sign, vex
from enginecrate.cli.shared.extras import require_extra
from enginecrate.cli.shared.options import Json, Project, RegistryAccess, examples, with_groups
from enginecrate.cli.shared.output import note, plain, print_json, show_progress
from enginecrate.cli.shared.secrets import PassphraseSource, SigningKeys

if TYPE_CHECKING:
    from enginecrate.release.boot.container import ContainerRuntime
    from enginecrate.release.manifest import ReleaseManifest

__all__ = ["create_app"]

_LAYOUT = "build/image"


def create_app() -> typer.Typer:
    """The group with its verbs."""
    app = typer.Typer(help="Releases: everything about one version, listed by digest and signed.")
    for verb, lines in (
        (create, ("enginecrate release create --key release-2026.key",)),
        (
            sign,
            (
                "enginecrate release sign registry.example.com/isv/app@sha256:... "
                "--signed-by isv.pub --key auditor.key",
            ),
        ),
        (
            vex,
            (
                "enginecrate release vex registry.example.com/isv/app:v1.2.0-release "
                "cve-2026-0001.json --key release-2026.key",
            ),
        ),
        (show, ("enginecrate release show oci:build/image:v1.2.0-release",)),
    ):
        app.command(verb.__name__, epilog=examples(*lines))(verb)
    return app


@with_groups
def create(
    key: SigningKeys,
    project: Project = Path(),
    layout: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="The images (default: build/image in the project)"),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Of the build (default: build/report.json)"),
    ] = None,
    vex: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="VEX file to attach: OpenVEX or CycloneDX"),
    ] = None,
    builder_id: Annotated[
        str, typer.Option(metavar="URI", help="Who built it, for the provenance")
    ] = "",
    boot: Annotated[
        bool, typer.Option("--boot/--no-boot", help="Measure the boot time with podman or docker")
    ] = True,
    *,
    passphrases: PassphraseSource,
    as_json: Json = False,
) -> None:
    """Make the release of the project's version from its images, and sign it.

    SBOMs, provenance and evidence are made and attached; the release manifest lists all of it by
    digest. Run it again after an interruption: what is there is left as it is.
    """
    from enginecrate.files.atomic import check_writable
    from enginecrate.image.transports.layout import Layout
    from enginecrate.manifest import load_manifest
    from enginecrate.release.create.documents import ReleaseInputs, make_documents
    from enginecrate.release.create.release import create_release

    require_extra("image")
    file = load_manifest(project)
    keys = passphrases.load_keys(key)
    transport = Layout(layout or file.root / _LAYOUT)
    check_writable(transport.folder)
    inputs = ReleaseInputs(
        report=report or file.root / "build" / "report.json",
        report_is_named=report is not None,
        vex=tuple(vex or ()),
        builder=builder_id,
        runtime=_runtime() if boot else None,
        machine=_machine(),
    )
    reference = file.manifest.image.repository if file.manifest.image else ""
    with show_progress() as progress:
        documents = make_documents(transport, file, inputs, progress)
        created = create_release(
            transport, documents.images, keys, reference=reference, progress=progress
        )
    for words in documents.left_out:
        note(words)
    if created.replaced:
        note(f"{created.release.tag} named another release manifest before")
    if as_json:
        print_json(
            {
                "tag": created.release.tag,
                "digest": str(created.descriptor.digest),
                "signatures": created.signatures,
                "unproven": created.release.is_unproven,
                "release": _as_dict(created.release),
            }
        )
        return
    describe(created.release)
    typer.echo(f"{created.release.tag}  {created.descriptor.digest}  in {transport.name}")
    note(f"{counted(created.signatures, 'signature')} added by {counted(len(keys), 'key')}")
    note(_next(created.release, transport.folder, key[0]))


@with_groups
def show(
    reference: Annotated[
        str, typer.Argument(metavar="REF", help="The release manifest, or one of its images")
    ],
    *,
    registry: RegistryAccess,
    as_json: Json = False,
) -> None:
    """Show what a release lists. Nothing is verified: `enginecrate verify` does that."""
    from enginecrate.image.transports.reference import open_transport
    from enginecrate.release.content.image import find_release

    transport, name = open_transport(reference, registry.options())
    descriptor, release = find_release(transport, name)
    if as_json:
        print_json(
            {
                "digest": str(descriptor.digest),
                "unproven": release.is_unproven,
                "release": _as_dict(release),
            }
        )
        return
    describe(release)
    typer.echo(plain(f"{release.tag}  {descriptor.digest}"))


def _runtime() -> ContainerRuntime | None:
    from enginecrate.release.boot.container import find_runtime

    return find_runtime()


def _machine() -> dict[str, object]:
    import msgspec

    from enginecrate.builder.report.build_machine import describe_machine

    facts: dict[str, object] = msgspec.to_builtins(describe_machine())
    return facts


def _as_dict(release: ReleaseManifest) -> object:
    import msgspec

    return msgspec.to_builtins(release, enc_hook=str)


def _next(release: ReleaseManifest, layout: Path, key: Path) -> str:
    """The next steps with a new release: verify as a customer does, then publish."""
    image = quote(f"oci:{layout}:{release.images[0].tag}")
    return (
        f"\nNext:\n  enginecrate verify {image} --key {quote(str(key.with_suffix('.pub')))}\n"
        f"  enginecrate image push {quote(str(layout))} REGISTRY/REPOSITORY"
    )
