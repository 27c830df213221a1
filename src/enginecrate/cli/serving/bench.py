"""`enginecrate bench`: load on a server, percentiles, and a check of the answers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated

import typer

from enginecrate.cli.serving.bench_options import BodyOptions, LoadOptions, OutputOptions
from enginecrate.cli.shared.exit_codes import EXIT_CODES, SUCCESS
from enginecrate.cli.shared.options import Project, SettingsFile, examples, with_groups
from enginecrate.cli.shared.output import show_progress

__all__ = ["EXAMPLES", "bench"]

EXAMPLES = examples(
    "enginecrate bench",
    "enginecrate bench http://localhost:8000 --connections 16 --duration 30",
    "enginecrate bench http://localhost:8000 --photo street.jpg --requests 1000",
    "enginecrate bench http://localhost:8000 --connections 1,8,32 --html bench.html",
    "enginecrate bench http://localhost:8000 --protocol v2-binary --rate 500",
    "enginecrate bench http://localhost:8000 --slo p99=50ms",
    "enginecrate bench --json > bench.json",
)


@with_groups
def bench(
    url: Annotated[
        str | None,
        typer.Argument(
            metavar="URL",
            help="Server to load (default: one of the project, started for this)",
            show_default=False,
        ),
    ] = None,
    project: Project = Path(),
    *,
    body: BodyOptions,
    load: LoadOptions,
    settings_file: SettingsFile = None,
    output: OutputOptions,
) -> None:
    """Measure how many requests a server answers, how fast, and whether it answers right.

    It ends with 1 when a request failed or an answer was wrong. Ctrl-C shows what there is so far.
    """
    from enginecrate.bench.objective import parse_objective
    from enginecrate.cli.serving.bench_body import make_body
    from enginecrate.cli.serving.bench_output import report
    from enginecrate.cli.serving.bench_runs import rate_search, single_runs

    load.check()
    objective = parse_objective(load.slo) if load.slo else None
    body_for = make_body(body, project)
    with _server(url, project, settings_file) as root:
        content = body_for(root)
        search = rate_search(content, load, objective) if objective else None
        runs = list(search.runs if search else single_runs(content, load))
    report(runs, output, title=f"Load on {content.address.authority}",
           single=load.is_single, search=search)  # fmt: skip
    passed = bool(search.rate) if search else bool(runs) and all(run.passed for run in runs)
    raise typer.Exit(SUCCESS if passed else EXIT_CODES["failed"])


@contextmanager
def _server(url: str | None, project: Path, settings_file: Path | None) -> Iterator[str]:
    if url is not None:
        yield url
        return
    from enginecrate.cli.serving.bench_server import own_server

    with ExitStack() as stack:
        with show_progress() as progress:
            root = stack.enter_context(own_server(project, settings_file, progress))
        yield root
