"""How an audit is shown to people."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from enginecrate.cli.shared.output import console, escaped, print_json

if TYPE_CHECKING:
    from rich.console import Console

    from enginecrate.image.audit.findings import AuditReport, Finding, ImageAudit

__all__ = ["print_report", "print_rules"]

_STYLES = {
    "critical": "bold white on red",
    "high": "bold red",
    "medium": "yellow",
    "low": "cyan",
    "info": "dim",
}
_MOST = 10
"""Places of one rule that are shown; --json has all of them."""


def print_report(report: AuditReport) -> None:
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
            screen.print(f"         {_place(finding)}{escaped(finding.message)}", soft_wrap=True)
        if len(findings) > _MOST:
            screen.print(f"         and {len(findings) - _MOST} more: see --json")
        screen.print(f"         [dim]cure: {escaped(first.cure)}[/]\n", soft_wrap=True)
    if image.ignored:
        screen.print("[bold]ignored[/]")
    for one in image.ignored:
        finding = one.finding
        screen.print(
            f"         [dim]{finding.rule}  {_place(finding)}{escaped(finding.message)} "
            f"-- {escaped(one.reason)}[/]",
            soft_wrap=True,
        )


def _place(finding: Finding) -> str:
    line = f":{finding.line}" if finding.line else ""
    path = f"/{escaped(finding.path)}{line}" if finding.path else ""
    layer = f"layer {finding.layer}" if finding.layer else ""
    where = " ".join(filter(None, (layer, path)))
    return f"{where}: " if where else ""


def print_rules(*, as_json: bool) -> None:
    """Every rule with what it looks at, why, and the cure."""
    from enginecrate.image.audit.tables import load_rules

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
