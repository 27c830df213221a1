"""`enginecrate doctor`: can this machine build and serve?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from enginecrate.cli.exit_codes import EXIT_CODES, SUCCESS
from enginecrate.cli.options import CacheDir, Json, SettingsFile, examples, resolve
from enginecrate.cli.output import console, print_json

if TYPE_CHECKING:
    from enginecrate.stacks.doctor import Finding

__all__ = ["EXAMPLES", "doctor"]

EXAMPLES = examples(
    "enginecrate doctor",
    "enginecrate doctor --http-port 9000 --cache-dir /var/cache/enginecrate",
    "enginecrate doctor --json",
)

_STYLES = {"ok": "green", "warn": "yellow", "fail": "bold red"}


def doctor(
    settings_file: SettingsFile = None,
    cache_dir: CacheDir = None,
    http_port: Annotated[
        str | None,
        typer.Option("--http-port", metavar="N", help="Port to check (ENGINECRATE_HTTP_PORT)"),
    ] = None,
    as_json: Json = False,
) -> None:
    """Say whether this machine can build and serve.

    Each finding says what is missing and what to do about it. The program ends with 1 when
    something fails; warnings do not count.
    """
    from enginecrate.stacks.doctor import examine
    from enginecrate.stacks.machine import probe_machine

    settings = resolve(settings_file, cache_dir=cache_dir, http_port=http_port)
    findings = examine(probe_machine(settings))
    failed = any(finding.status == "fail" for finding in findings)
    if as_json:
        print_json({"healthy": not failed, "findings": findings})
    else:
        _show(findings)
    raise typer.Exit(EXIT_CODES["failed"] if failed else SUCCESS)


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
