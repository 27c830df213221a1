"""The command line: every verb, and the options before it.

A new verb is a file of its room (`project`, `serving`, `image`, `release`), and a line here.
"""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from enginecrate.cli.image import audit, image, lock
from enginecrate.cli.project import build, calibrate, conformance, golden, init, inspect, manifest
from enginecrate.cli.release import keys, release, verify
from enginecrate.cli.serving import bench, doctor, predict, serve, stacks
from enginecrate.cli.shared.exit_codes import BROKEN_PIPE
from enginecrate.errors import UsageError

__all__ = ["create_app"]


def create_app() -> typer.Typer:
    """The command line with all verbs."""
    app = typer.Typer(
        name="enginecrate",
        cls=_Program,
        help="From an ONNX model to a proven, deployable inference server.",
        context_settings={"help_option_names": ["--help", "-h"]},
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        invoke_without_command=True,
        callback=_root,
    )
    app.command("init", epilog=init.EXAMPLES)(init.init)
    app.command("doctor", epilog=doctor.EXAMPLES)(doctor.doctor)
    app.command("inspect", epilog=inspect.EXAMPLES)(inspect.inspect)
    app.command("build", epilog=build.EXAMPLES)(build.build)
    app.command("calibrate", epilog=calibrate.EXAMPLES)(calibrate.calibrate)
    app.command("serve", epilog=serve.EXAMPLES)(serve.serve)
    app.command("predict", epilog=predict.EXAMPLES)(predict.predict)
    app.command("bench", epilog=bench.EXAMPLES)(bench.bench)
    app.command("stacks", epilog=stacks.EXAMPLES)(stacks.stacks)
    app.command("lock", epilog=lock.EXAMPLES)(lock.lock)
    app.command("audit", epilog=audit.EXAMPLES)(audit.audit)
    app.command("verify", epilog=verify.EXAMPLES)(verify.verify)
    app.command("conformance", epilog=conformance.EXAMPLES)(conformance.conformance)
    app.add_typer(golden.create_app(), name="golden")
    app.add_typer(image.create_app(), name="image")
    app.add_typer(keys.create_app(), name="keys")
    app.add_typer(manifest.create_app(), name="manifest")
    app.add_typer(release.create_app(), name="release")
    return app


class _Program(TyperGroup):
    """Typer ends a closed pipe with its own exit code; here it becomes one that `main` returns."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise typer.Exit(BROKEN_PIPE) from None


def _root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version, and end")] = False,
    healthcheck: Annotated[
        bool,
        typer.Option(
            "--healthcheck",
            help="Ask the server on this machine whether it is ready, and end: for containers",
        ),
    ] = False,
    debug: Annotated[
        bool,
        typer.Option("--debug", help="Show the traceback of an error (ENGINECRATE_DEBUG=1)"),
    ] = False,
) -> None:
    # `main` has dealt with these three; they stand here for the help and the completion.
    del debug
    if version or healthcheck:
        raise UsageError(f"{'--version' if version else '--healthcheck'} stands alone")
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
