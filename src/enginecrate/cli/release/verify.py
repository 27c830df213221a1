"""`enginecrate verify`: prove everything about a release, from signatures to golden samples."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from enginecrate.cli.shared.exit_codes import EXIT_CODES, SUCCESS
from enginecrate.cli.shared.options import Json, RegistryAccess, examples, with_groups
from enginecrate.cli.shared.output import note, plain, print_json, show_progress
from enginecrate.errors import (
    ReferenceInvalid,
    UsageError,
    VerificationFailed,
    VerificationIncomplete,
)

if TYPE_CHECKING:
    from enginecrate.release.keys.trust_file import Trust
    from enginecrate.release.verify.report import VerifyReport
    from enginecrate.release.verify.verification import VerifyOptions

__all__ = ["EXAMPLES", "verify"]

EXAMPLES = examples(
    "enginecrate verify registry.example.com/isv/ai-inspection:v1.2.0-ort-cpu --key isv.pub",
    "enginecrate verify oci:build/image:v1.2.0-ort-cpu --key isv.pub --key auditor.pub --require 2",
    "enginecrate verify ai-inspection.tar --trust keys.toml --offline",
)

_MARKS = {"passed": ("passed ", "green"), "failed": ("FAILED ", "red"),
          "skipped": ("skipped", "yellow")}  # fmt: skip


@with_groups
def verify(
    reference: Annotated[
        str,
        typer.Argument(
            metavar="REF",
            help="registry/repository:tag, oci:FOLDER:tag, or FILE.tar; a digest is best",
        ),
    ],
    key: Annotated[
        list[Path] | None,
        typer.Option("--key", metavar="KEY.pub", help="The vendor's public key; may be repeated"),
    ] = None,
    trust: Annotated[
        Path | None,
        typer.Option("--trust", metavar="FILE", help="Trust file with keys (docs/signing.md)"),
    ] = None,
    require: Annotated[
        int, typer.Option("--require", min=1, help="How many of the keys must have signed")
    ] = 1,
    app: Annotated[
        str, typer.Option("--app", metavar="NAME", help="The app that it must be; default: any")
    ] = "",
    release_digest: Annotated[
        str,
        typer.Option(
            "--release-digest", metavar="DIGEST", help="The release manifest that it must be of"
        ),
    ] = "",
    boot: Annotated[
        bool, typer.Option("--boot/--no-boot", help="Start the image with podman or docker")
    ] = True,
    boot_seconds: Annotated[
        float, typer.Option("--boot-seconds", min=1, help="Longest wait until it is ready")
    ] = 180.0,
    memory_mib: Annotated[
        int, typer.Option("--memory-mib", min=64, help="Memory limit of the container")
    ] = 2048,
    offline: Annotated[
        bool, typer.Option("--offline", help="Refuse what needs a network: layouts and files only")
    ] = False,
    *,
    registry: RegistryAccess,
    as_json: Json = False,
) -> None:
    """Verify a release: digests, signatures, SBOM, statements, hardening, boot, golden samples.

    Ends with 0 only when every check ran and passed; 1 when one failed, 11 when one could not run.
    """
    from enginecrate.image.transports.layout_reader import LayoutReader
    from enginecrate.image.transports.reference import open_transport
    from enginecrate.release.verify.verification import verify_image

    _check_digest(release_digest)
    transport, name = open_transport(reference, registry.options())
    if offline and not isinstance(transport, LayoutReader):
        raise ReferenceInvalid(
            f"{reference} is in a registry, which --offline refuses; verify a file or a layout: "
            "enginecrate image save"
        )
    whom = _trust(key or [], trust, require)
    options = _options(
        app, release_digest, boot=boot, seconds=boot_seconds, memory=memory_mib << 20
    )
    with show_progress() as progress:
        report = verify_image(transport, name, whom, options, progress)
    code = _tell(report, as_json=as_json)
    if code != SUCCESS:
        raise typer.Exit(code)


def _trust(keys: list[Path], file: Path | None, require: int) -> Trust:
    from enginecrate.release.keys.key_files import load_public_key
    from enginecrate.release.keys.trust_file import Trust, load_trust

    named = [(path.stem, load_public_key(path)) for path in keys]
    return Trust.of(named, file=load_trust(file) if file else (), require=require)


def _check_digest(text: str) -> None:
    from enginecrate.values import Digest

    try:
        Digest(text or f"sha256:{'0' * 64}")
    except ValueError as exc:
        raise UsageError(
            f"--release-digest {text}: {exc}; an earlier verification shows it"
        ) from exc


def _options(
    app: str, release_digest: str, *, boot: bool, seconds: float, memory: int
) -> VerifyOptions:
    from enginecrate.release.boot.container import find_runtime
    from enginecrate.release.verify.verification import VerifyOptions

    return VerifyOptions(
        app=app,
        release_digest=release_digest,
        runtime=find_runtime() if boot else None,
        no_boot="" if boot else "--no-boot was given",
        audit=True,
        memory_bytes=memory,
        boot_seconds=seconds,
    )


def _tell(report: VerifyReport, *, as_json: bool) -> int:
    code = {
        "passed": SUCCESS,
        "failed": EXIT_CODES[VerificationFailed.kind],
        "skipped": EXIT_CODES[VerificationIncomplete.kind],
    }[report.verdict]
    if as_json:
        print_json({"verdict": report.verdict, **_as_dict(report)})
        return code
    for check in report.checks:
        words, colour = _MARKS[check.status]
        lines = [plain(line) for line in check.detail.splitlines()] or [""]
        typer.echo(f"{typer.style(words, fg=colour)}  {check.name:<12} {lines[0]}")
        for line in lines[1:]:
            typer.echo(f"{'':22} {line}")
    note(_verdict(report))
    return code


def _as_dict(report: VerifyReport) -> dict[str, object]:
    import msgspec

    rows: dict[str, object] = msgspec.to_builtins(report, enc_hook=str)
    return rows


def _verdict(report: VerifyReport) -> str:
    what = f"{report.app} {report.version}".strip() or report.reference
    return {
        "passed": f"{what}: everything is proven. It shows who signed, and not when.",
        "failed": f"{what}: VERIFICATION FAILED; do not run it",
        "skipped": f"{what}: nothing is wrong, but not everything could be examined",
    }[report.verdict]
