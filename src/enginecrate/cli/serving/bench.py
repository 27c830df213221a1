"""`enginecrate bench`: load on a server, percentiles, and a check of the answers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from enginecrate.cli.shared.exit_codes import EXIT_CODES, SUCCESS
from enginecrate.cli.shared.options import Json, Project, SettingsFile, examples, read_input
from enginecrate.cli.shared.output import print_json, print_rows, show_progress
from enginecrate.errors import EnginecrateError, UsageError

if TYPE_CHECKING:
    from enginecrate.bench.result import BenchResult, Check
    from enginecrate.bench.wire import Payload
    from enginecrate.values import Progress

__all__ = ["EXAMPLES", "bench"]

EXAMPLES = examples(
    "enginecrate bench",
    "enginecrate bench http://localhost:8000 --connections 16 --duration 30",
    "enginecrate bench http://localhost:8000 --photo street.jpg --requests 1000",
    "enginecrate bench --json > bench.json",
)

_PATH = "/v1/predict"


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
    photo: Annotated[
        list[Path] | None,
        typer.Option(
            "--photo",
            metavar="FILE",
            help="What to send; may be given several times (default: the project's golden samples)",
        ),
    ] = None,
    connections: Annotated[
        int, typer.Option(min=1, max=4096, help="Clients, each with one request at a time")
    ] = 4,
    duration: Annotated[
        float, typer.Option(min=0.1, help="Seconds to measure", metavar="SECONDS")
    ] = 10.0,
    requests: Annotated[
        int, typer.Option(min=0, help="Requests to measure, in place of --duration; 0: by time")
    ] = 0,
    warmup: Annotated[
        float, typer.Option(min=0, help="Seconds before that count for nothing", metavar="SECONDS")
    ] = 2.0,
    timeout: Annotated[
        float, typer.Option(min=0.1, help="Longest wait for one answer", metavar="SECONDS")
    ] = 30.0,
    settings_file: SettingsFile = None,
    as_json: Json = False,
) -> None:
    """Measure how many photos a server answers, how fast, and whether it answers right.

    It ends with 1 when a request failed or an answer was wrong. Ctrl-C shows what there is so far.
    """
    from enginecrate.bench.load import LoadPlan, run_load
    from enginecrate.bench.result import make_result
    from enginecrate.bench.wire import RESULTS, parse_address

    payloads, check = _payloads(project, photo or [])
    with show_progress() as progress, _server(url, project, settings_file, progress) as root:
        plan = LoadPlan(
            address=parse_address(root, _PATH),
            payloads=payloads,
            connections=connections,
            warmup_seconds=warmup,
            seconds=duration,
            requests=requests,
            timeout=timeout,
            stable=RESULTS,
        )
        measured = run_load(plan, progress)
    result = make_result(plan, measured, check)
    if as_json:
        print_json(result)
    else:
        print_rows(_rows(result))
    raise typer.Exit(SUCCESS if result.passed else EXIT_CODES["failed"])


@contextmanager
def _server(
    url: str | None, project: Path, settings_file: Path | None, progress: Progress
) -> Iterator[str]:
    if url is not None:
        yield url
        return
    from enginecrate.cli.serving.bench_server import own_server

    with own_server(project, settings_file, progress) as root:
        yield root


def _payloads(project: Path, photos: Sequence[Path]) -> tuple[list[Payload], Check | None]:
    """The payloads, and the check of their answers."""
    from enginecrate.bench.wire import Payload

    if photos:
        return [Payload(str(file), read_input(file)) for file in photos], None
    from enginecrate.builder.golden.samples import load_golden
    from enginecrate.manifest import load_manifest

    file = load_manifest(project)
    samples = load_golden(file.root / file.manifest.precision.accuracy.golden)
    if not samples:
        raise UsageError("the project has no golden samples; name a photo: --photo FILE")
    return [Payload(sample.name, sample.payload) for sample in samples], _golden_check(samples)


def _golden_check(samples: Sequence[object]) -> Check:
    import msgspec

    from enginecrate.builder.golden.samples import GoldenSample, as_result, check_sample

    known = {sample.name: sample for sample in samples if isinstance(sample, GoldenSample)}

    def check(name: str, part: bytes) -> str:
        try:
            (result,) = msgspec.json.decode(part)
            outcome = check_sample(known[name], as_result(result))
        except (msgspec.MsgspecError, EnginecrateError, KeyError, TypeError, ValueError) as exc:
            return f"no result ({exc})"
        return "; ".join(outcome.reasons)

    return check


def _rows(result: BenchResult) -> Iterator[tuple[str, str]]:
    ended = " (ended by Ctrl-C)" if result.interrupted else ""
    yield "load", f"{result.connections} connections, {result.payloads} photos in turn"
    yield "measured", f"{result.requests} requests in {result.seconds:.1f} s{ended}"
    yield "throughput", f"{result.throughput:.1f} requests/s"
    if (latency := result.latency_ms) is not None:
        for share in ("p50", "p90", "p95", "p99"):
            yield share, f"{getattr(latency, share):.1f} ms"
        yield "max", f"{latency.maximum:.1f} ms"
    yield "errors", ", ".join(f"{n} x {why}" for why, n in result.errors.items()) or "none"
    if result.checked:
        yield "answers", f"{result.wrong} wrong" if result.wrong else "all right"
    else:
        yield "answers", f"{result.answers} different ones; not compared with right ones"
    for reason in result.wrong_reasons:
        yield "", reason
