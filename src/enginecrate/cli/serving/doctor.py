"""`enginecrate doctor`: findings about this machine, and their cures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from enginecrate.cli.shared.exit_codes import EXIT_CODES, SUCCESS
from enginecrate.cli.shared.options import Json, SettingsSources, examples, with_groups
from enginecrate.cli.shared.output import console, note, print_json
from enginecrate.errors import ProjectExists

if TYPE_CHECKING:
    from enginecrate.stacks.doctor import Finding
    from enginecrate.stacks.doctor.project_facts import ProjectFacts

__all__ = ["EXAMPLES", "doctor"]

EXAMPLES = examples(
    "enginecrate doctor",
    "enginecrate doctor --project ai-inspection",
    "enginecrate doctor --http-port 9000 --cache-dir /var/cache/enginecrate",
    "enginecrate doctor --json",
    "enginecrate doctor --bundle support.zip",
)

_STYLES = {"ok": "green", "warn": "yellow", "fail": "bold red"}


@with_groups
def doctor(
    project: Annotated[
        Path | None,
        typer.Option(
            "--project",
            "-p",
            metavar="PATH",
            help="A project that this machine shall build and serve (default: the one in the "
            "current folder, if there is one)",
        ),
    ] = None,
    *,
    sources: SettingsSources,
    http_port: Annotated[
        str | None,
        typer.Option("--http-port", metavar="N", help="Port to check (ENGINECRATE_HTTP_PORT)"),
    ] = None,
    bundle: Annotated[
        Path | None,
        typer.Option(
            "--bundle",
            metavar="FILE",
            help="Write everything into a ZIP file for the vendor's support, without secrets",
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Let --bundle overwrite a file that is there")
    ] = False,
    as_json: Json = False,
) -> None:
    """Say whether this machine can build and serve.

    Each finding says what is missing and what to do about it. The program ends with 1 when
    something fails; warnings do not count.
    """
    from enginecrate.engines.cpu_cores import available_cores
    from enginecrate.stacks.doctor import examine
    from enginecrate.stacks.doctor.bundle import make_bundle
    from enginecrate.stacks.machine.machine import probe_machine

    if bundle is not None and not force:
        _refuse_to_overwrite(bundle)
    settings = sources.load(http_port=http_port)
    machine = probe_machine(settings, available_cores())
    facts = _project(project)
    findings = examine(machine, facts)
    if bundle is not None:
        _write(bundle, make_bundle(findings, machine, settings, facts))
    failed = any(finding.status == "fail" for finding in findings)
    if as_json:
        print_json({"healthy": not failed, "findings": findings})
    else:
        _show(findings)
    raise typer.Exit(EXIT_CODES["failed"] if failed else SUCCESS)


def _project(path: Path | None) -> ProjectFacts | None:
    from enginecrate.manifest import MANIFEST_NAME
    from enginecrate.stacks.doctor.project_facts import probe_project

    if path is None and not Path(MANIFEST_NAME).exists():
        return None
    return probe_project(path or Path())


def _refuse_to_overwrite(file: Path) -> None:
    if file.exists():
        raise ProjectExists(f"{file} is there already; choose another name, or give --force, too")


def _write(file: Path, content: bytes) -> None:
    from enginecrate.errors import SystemRefused
    from enginecrate.files.atomic import write_atomic

    try:
        write_atomic(file, content)
    except OSError as exc:
        raise SystemRefused(
            f"cannot write {file}: {exc.strerror}; choose a folder that is there and may be written"
        ) from exc
    note(f"wrote {file}: look into it before you send it")


def _show(findings: list[Finding]) -> None:
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for finding in findings:
        status = f"[{_STYLES[finding.status]}]{finding.status}[/]"
        cure = f"\n[dim]-> {escape(finding.cure)}[/]" if finding.cure else ""
        table.add_row(status, finding.check, escape(finding.message) + cure)
    console().print(table)
