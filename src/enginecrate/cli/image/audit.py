"""`enginecrate audit`: is an image hardened?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from enginecrate.cli.audit_tables import print_report, print_rules
from enginecrate.cli.registries import CaFile, Insecure, registry_options
from enginecrate.cli.shared.exit_codes import EXIT_CODES, SUCCESS
from enginecrate.cli.shared.options import Json, examples
from enginecrate.cli.shared.output import note, print_json, show_progress
from enginecrate.errors import AuditFailed, ReferenceInvalid, SystemRefused, UsageError

if TYPE_CHECKING:
    from enginecrate.image.audit.findings import AuditReport, Finding, Severity, Waiver
    from enginecrate.image.places.place import Place
    from enginecrate.image.places.registry import RegistryOptions

__all__ = ["EXAMPLES", "audit"]

EXAMPLES = examples(
    "enginecrate audit registry.example.com/isv/ai-inspection:v1.2.0-ort-cpu",
    "enginecrate audit oci:build/image --fail-on high",
    "enginecrate audit app.tar --ignore EC-IMG-020='the vendor needs its shell'",
    "enginecrate audit app.tar --format sarif > audit.sarif",
    "enginecrate audit --rules",
)

Format = Literal["text", "json", "sarif"]
Level = Literal["critical", "high", "medium", "low", "info", "never"]


def audit(
    image: Annotated[
        str | None,
        typer.Argument(
            metavar="IMAGE",
            help="registry/repository:tag, oci:FOLDER:tag, or FILE.tar, also of podman save",
            show_default=False,
        ),
    ] = None,
    platform: Annotated[
        str, typer.Option("--platform", metavar="OS/ARCH", help="Only this platform of an index")
    ] = "",
    ignore: Annotated[
        list[str] | None,
        typer.Option(
            "--ignore", metavar="RULE=REASON", help="A rule that does not count; may be repeated"
        ),
    ] = None,
    fail_on: Annotated[
        Level, typer.Option("--fail-on", help="Least severity that makes the audit fail")
    ] = "low",
    output: Annotated[Format, typer.Option("--format", help="What to print on stdout")] = "text",
    sarif: Annotated[
        Path | None, typer.Option("--sarif", metavar="FILE", help="Write SARIF 2.1.0, too")
    ] = None,
    rules: Annotated[bool, typer.Option("--rules", help="List all rules, and end")] = False,
    ca_file: CaFile = None,
    insecure: Insecure = False,
    as_json: Json = False,
) -> None:
    """Look for what makes an image easy to attack, in its files and its configuration.

    Works on any image, and runs nothing of it. Secrets are looked for in every layer, also in files
    that a later layer removes. Ends with 1 when there is a finding of --fail-on or worse.
    """
    chosen: Format = "json" if as_json else output
    if rules:
        print_rules(as_json=chosen == "json")
        return
    if image is None:
        raise UsageError("say which image: enginecrate audit IMAGE; or list the rules: --rules")
    options = registry_options(ca_file, insecure=insecure)
    report = _audit(image, platform, [_waiver(text) for text in ignore or ()], options)
    if sarif is not None:
        _write(sarif, report)
    failing: Sequence[Finding] = [] if fail_on == "never" else report.at_least(_severity(fail_on))
    _tell(report, chosen, failing, fail_on)


def _audit(
    image: str, platform: str, waivers: list[Waiver], options: RegistryOptions
) -> AuditReport:
    from enginecrate.image.audit.auditing import audit_image

    place, name = _open(image, options)
    with show_progress() as progress:
        return audit_image(place, name, platform, waivers=waivers, progress=progress)


def _open(text: str, options: RegistryOptions) -> tuple[Place, str]:
    """Like `open_place`; but an audit takes every image, also one that is only `latest`."""
    from enginecrate.image.places.docker_archive import DockerArchive, is_docker_archive
    from enginecrate.image.places.open_place import open_place
    from enginecrate.values import ImageRef

    path, _, tag = text.removeprefix("docker-archive:").partition(".tar:")
    file = Path(f"{path}.tar" if tag else path)
    if file.suffix == ".tar" and is_docker_archive(file):
        archive = DockerArchive(file)
        return archive, archive.choose(tag)
    try:
        return open_place(text, options)
    except ReferenceInvalid:
        try:
            reference = ImageRef.parse(text)
        except ValueError:
            reference = None
        if reference is None or reference.digest or reference.tag.lower() != "latest":
            raise
    from enginecrate.image.places.registry import Repository

    return Repository(reference, options), reference.tag


def _waiver(text: str) -> Waiver:
    from enginecrate.image.audit.findings import Waiver

    rule, _, reason = text.partition("=")
    return Waiver(rule.strip(), reason.strip()) if reason.strip() else Waiver(rule.strip())


def _severity(level: str) -> Severity:
    from enginecrate.image.audit.findings import Severity

    return Severity(level)


def _write(file: Path, report: AuditReport) -> None:
    from enginecrate.image.audit.sarif import to_sarif

    try:
        file.write_bytes(to_sarif(report))
    except OSError as exc:
        raise SystemRefused(
            f"cannot write {file}: {exc.strerror}; choose a folder that is there and may be written"
        ) from exc


def _tell(report: AuditReport, output: Format, failing: Sequence[Finding], level: str) -> None:
    if output == "text":
        print_report(report)
        if failing:
            count = "1 finding" if len(failing) == 1 else f"{len(failing)} findings"
            raise AuditFailed(
                f"{count} of severity {level} or worse; change the image as the cures say, or "
                "leave a rule out with --ignore RULE=REASON"
            )
        note("nothing that makes the audit fail")
        return
    if output == "json":
        print_json(
            {"passed": not failing, "fail_on": level, "counts": report.counts, "report": report}
        )
    else:
        from enginecrate.image.audit.sarif import to_sarif

        typer.echo(to_sarif(report), nl=False)
    raise typer.Exit(EXIT_CODES[AuditFailed.kind] if failing else SUCCESS)
