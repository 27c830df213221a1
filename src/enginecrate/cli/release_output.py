"""How a release is shown on a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from enginecrate.cli.shared.output import plain

if TYPE_CHECKING:
    from enginecrate.release.manifest import ReleaseManifest

__all__ = ["counted", "describe"]


def describe(release: ReleaseManifest) -> None:
    """What it lists, with digests. Its words are its maker's: they cannot steer the terminal."""
    _echo(f"{release.app} {release.version}, made by {release.tool}")
    for image in release.images:
        platforms = ", ".join(one.platform for one in image.platforms)
        _echo(f"  {image.tag}  {image.digest}  {platforms}")
        for listed in image.attachments:
            _echo(f"    {listed.kind:<22} {listed.content}")
        for platform in image.platforms:
            for plan in platform.plans:
                _echo(f"    plan {plan.device} {plan.precision:<8} {plan.digest}")


def counted(number: int, what: str) -> str:
    """`1 signature`, `2 signatures`."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def _echo(line: str) -> None:
    typer.echo(plain(line))
