"""`enginecrate audit`: is an image hardened? The report is shown to people, or as JSON or SARIF."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from enginecrate.cli.shared.exit_codes import EXIT_CODES, SUCCESS
from enginecrate.cli.shared.options import Json, RegistryAccess, examples, with_groups
from enginecrate.cli.shared.output import console, escaped, note, print_json, show_progress
from enginecrate.errors import AuditFailed, ReferenceInvalid, SystemRefused, UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from enginecrate.image.audit.report import AuditReport, Finding, ImageAudit, Waiver
    from enginecrate.image.audit.rules.rule_data import Severity
    from enginecrate.image.transports.base import ImageSource
    from enginecrate.image.transports.registry import RegistryOptions

__all__ = ["EXAMPLES", "audit"]

_STYLES = {
    "critical": "bold white on red",
    "high": "bold red",
    "medium": "yellow",
    "low": "cyan",
    "info": "dim",
}
_MOST = 10
"""The most findings of one rule that are shown; --json has all of them."""
EXAMPLES = examples(
    "enginecrate audit registry.example.com/isv/ai-inspection:v1.2.0-ort-cpu",
    "enginecrate audit oci:build/image --fail-on high",
    "enginecrate audit app.tar --ignore EC-IMG-020='the vendor needs its shell'",
    "enginecrate audit app.tar --format sarif > audit.sarif",
    "enginecrate audit --rules",
)
_Format = Literal["text", "json", "sarif"]
_Level = Literal["critical", "high", "medium", "low", "info", "never"]


@with_groups
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
        _Level, typer.Option("--fail-on", help="Least severity that makes the audit fail")
    ] = "low",
    output: Annotated[_Format, typer.Option("--format", help="What to print on stdout")] = "text",
    sarif: Annotated[
        Path | None, typer.Option("--sarif", metavar="FILE", help="Write SARIF 2.1.0, too")
    ] = None,
    rules: Annotated[bool, typer.Option("--rules", help="List all rules, and end")] = False,
    *,
    registry: RegistryAccess,
    as_json: Json = False,
) -> None:
    """Look for what makes an image easy to attack, in its files and its configuration.

    Works on any image, and runs nothing of it. Secrets are looked for in every layer, also in files
    that a later layer removes. Ends with 1 when there is a finding of --fail-on or worse.
    """
    chosen: _Format = "json" if as_json else output
    if rules:
        _print_rules(as_json=chosen == "json")
        return
    if image is None:
        raise UsageError("say which image: enginecrate audit IMAGE; or list the rules: --rules")
    options = registry.options()
    report = _audit(image, platform, [_waiver(text) for text in ignore or ()], options)
    if sarif is not None:
        _write(sarif, report)
    failing: Sequence[Finding] = [] if fail_on == "never" else report.at_least(_severity(fail_on))
    _tell(report, chosen, failing, fail_on)


def _audit(
    image: str, platform: str, waivers: list[Waiver], options: RegistryOptions
) -> AuditReport:
    from enginecrate.image.audit.audit import audit_image

    transport, name = _open(image, options)
    with show_progress() as progress:
        return audit_image(transport, name, platform, waivers=waivers, progress=progress)


def _open(text: str, options: RegistryOptions) -> tuple[ImageSource, str]:
    """Like `open_transport`; but an audit takes every image, also one that is only `latest`."""
    from enginecrate.image.transports.docker_archive import DockerArchive, is_docker_archive
    from enginecrate.image.transports.reference import open_transport
    from enginecrate.values import ImageRef

    path, _, tag = text.removeprefix("docker-archive:").partition(".tar:")
    file = Path(f"{path}.tar" if tag else path)
    if file.suffix == ".tar" and is_docker_archive(file):
        archive = DockerArchive(file)
        return archive, archive.choose(tag)
    try:
        return open_transport(text, options)
    except ReferenceInvalid:
        try:
            reference = ImageRef.parse(text)
        except ValueError:
            reference = None
        if reference is None or reference.digest or reference.tag.lower() != "latest":
            raise
    from enginecrate.image.transports.registry import Repository

    return Repository(reference, options), reference.tag


def _waiver(text: str) -> Waiver:
    from enginecrate.image.audit.report import Waiver

    rule, _, reason = text.partition("=")
    return Waiver(rule.strip(), reason.strip()) if reason.strip() else Waiver(rule.strip())


def _severity(level: str) -> Severity:
    from enginecrate.image.audit.rules.rule_data import Severity

    return Severity(level)


def _write(file: Path, report: AuditReport) -> None:
    from enginecrate.image.audit.sarif import to_sarif

    try:
        file.write_bytes(to_sarif(report))
    except OSError as exc:
        raise SystemRefused(
            f"cannot write {file}: {exc.strerror}; choose a folder that is there and may be written"
        ) from exc


def _tell(report: AuditReport, output: _Format, failing: Sequence[Finding], level: str) -> None:
    if output == "text":
        _print_report(report)
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


def _print_report(report: AuditReport) -> None:
    """All findings, worst first, with where they are and what to do."""
    screen = console()
    for image in report.images:
        screen.print(
            f"[bold]{escaped(report.image)}[/] {escaped(str(image.platform))} {image.digest}",
            soft_wrap=True,
        )
        screen.print(f"{len(image.layers)} layers, {image.entries:,} files and folders\n")
        _print_findings(screen, image)
    counts = ", ".join(f"{count} {name}" for name, count in report.counts.items() if count)
    screen.print(f"[bold]{counts or 'no findings'}[/]")


def _print_findings(screen: Console, image: ImageAudit) -> None:
    for _, group in groupby(image.findings, key=lambda one: one.rule):
        findings = list(group)
        first = findings[0]
        style = _STYLES[first.severity]
        screen.print(
            f"[{style}]{first.severity:8}[/] [bold]{first.rule}  {escaped(first.title)}[/]",
            soft_wrap=True,
        )
        for finding in findings[:_MOST]:
            screen.print(f"         {_location(finding)}{escaped(finding.message)}", soft_wrap=True)
        if len(findings) > _MOST:
            screen.print(f"         and {len(findings) - _MOST} more: see --json")
        screen.print(f"         [dim]cure: {escaped(first.cure)}[/]\n", soft_wrap=True)
    if image.ignored:
        screen.print("[bold]ignored[/]")
    for ignored in image.ignored:
        finding = ignored.finding
        screen.print(
            f"         [dim]{finding.rule}  {_location(finding)}{escaped(finding.message)} "
            f"-- {escaped(ignored.reason)}[/]",
            soft_wrap=True,
        )


def _location(finding: Finding) -> str:
    line = f":{finding.line}" if finding.line else ""
    path = f"/{escaped(finding.path)}{line}" if finding.path else ""
    layer = f"layer {finding.layer}" if finding.layer else ""
    where = " ".join(filter(None, (layer, path)))
    return f"{where}: " if where else ""


def _print_rules(*, as_json: bool) -> None:
    """Every rule with its subject, its reason, and the cure."""
    from enginecrate.image.audit.rules.rule_data import load_rules

    rules = list(load_rules().values())
    if as_json:
        print_json({"rules": rules})
        return
    screen = console()
    for rule in rules:
        style = _STYLES[rule.severity]
        screen.print(f"[bold]{rule.id}[/]  [{style}]{rule.severity}[/]  [bold]{rule.title}[/]")
        screen.print(f"  looks at: {escaped(rule.looks_at)}", soft_wrap=True)
        screen.print(f"  why: {escaped(rule.why)}", soft_wrap=True)
        screen.print(f"  cure: {escaped(rule.cure)}", soft_wrap=True)
        screen.print(f"  [dim]{escaped('; '.join(rule.sources))}[/]\n", soft_wrap=True)
