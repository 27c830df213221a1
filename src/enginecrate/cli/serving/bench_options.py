"""The options of `enginecrate bench`, in groups."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from enginecrate.cli.shared.options import Json, refuse_together, split_words
from enginecrate.errors import UsageError

__all__ = ["Arrivals", "BodyOptions", "LoadOptions", "OutputOptions", "Protocol"]

_MOST_CONNECTIONS = 4096
_OPEN_CONNECTIONS = 1024
"""The most that an open loop opens, unless told."""


class Arrivals(StrEnum):
    """The distances between the requests of an open loop."""

    POISSON = "poisson"
    CONSTANT = "constant"


class Protocol(StrEnum):
    """The form of the requests."""

    PREDICT = "predict"
    JSON = "v2-json"
    BINARY = "v2-binary"


@dataclass(frozen=True, slots=True)
class BodyOptions:
    """Options about what is sent."""

    photo: Annotated[
        list[Path] | None,
        typer.Option(
            "--photo",
            metavar="FILE",
            help="What to send; may be given several times (default: the project's golden samples)",
        ),
    ] = None
    protocol: Annotated[
        Protocol,
        typer.Option(
            help="predict: photos to /v1/predict; v2-json, v2-binary: tensors to "
            "/v2/models/MODEL/infer of any server of the Open Inference Protocol"
        ),
    ] = Protocol.PREDICT
    model: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="v2: the model (default: the first that the server has)"),
    ] = None
    tensors: Annotated[
        list[Path] | None,
        typer.Option(
            "--tensors",
            metavar="FILE",
            help="v2: an .npz with the inputs by name; may be repeated (default: random)",
        ),
    ] = None
    shape: Annotated[
        list[str] | None,
        typer.Option(
            "--shape", metavar="INPUT:1,3,224,224", help="v2: the whole shape of a random input"
        ),
    ] = None
    batch: Annotated[int, typer.Option(min=1, help="v2: samples in each random request")] = 1


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """Options about how much is sent, and when."""

    connections: Annotated[
        str | None,
        typer.Option(
            metavar="N[,N...]",
            help="Clients, each with one request at a time; several numbers: one run for each. "
            "With --rate or --slo: the most connections  [default: 4; with --rate 1024]",
            show_default=False,
        ),
    ] = None
    rate: Annotated[
        str | None,
        typer.Option(
            metavar="N[,N...]",
            help="Requests a second that are sent whatever the server does (open loop), latency "
            "counted from the intended start; several numbers: one run for each",
        ),
    ] = None
    arrivals: Annotated[
        Arrivals, typer.Option(help="Distances between the requests of --rate and --slo")
    ] = Arrivals.POISSON
    slo: Annotated[
        str | None,
        typer.Option(
            metavar="p99=50ms", help="Search the highest rate at which this holds, by --duration"
        ),
    ] = None
    duration: Annotated[
        float, typer.Option(min=0.1, help="Seconds to measure", metavar="SECONDS")
    ] = 10.0
    requests: Annotated[
        int, typer.Option(min=0, help="Requests to measure, in place of --duration; 0: by time")
    ] = 0
    warmup: Annotated[
        float, typer.Option(min=0, help="Seconds before that count for nothing", metavar="SECONDS")
    ] = 2.0
    until_stable: Annotated[
        float,
        typer.Option(
            min=0,
            metavar="SECONDS",
            help="Go on until three windows of a third of --duration agree, at most so long; the "
            "figures are theirs",
        ),
    ] = 0.0
    tolerance: Annotated[
        float, typer.Option(min=0.1, help="Percent within which windows agree", metavar="PERCENT")
    ] = 10.0
    timeout: Annotated[
        float, typer.Option(min=0.1, help="Longest wait for one answer", metavar="SECONDS")
    ] = 30.0
    processes: Annotated[
        int, typer.Option(min=0, max=256, help="Processes that send; 0: by load and cores")
    ] = 0

    def check(self) -> None:
        """Raise `UsageError` for numbers that are none, and options that exclude each other."""
        refuse_together({"--rate": self.rate, "--slo": self.slo})
        refuse_together({"--requests": self.requests, "--slo": self.slo})
        refuse_together({"--requests": self.requests, "--until-stable": self.until_stable})
        if (self.rate or self.slo) and len(split_words([self.connections or ""])) > 1:
            raise UsageError("--rate and --slo take one number of --connections, the most")
        self.all_connections()
        self.all_rates()

    @property
    def open(self) -> bool:
        """True for an open loop."""
        return bool(self.rate or self.slo)

    @property
    def is_single(self) -> bool:
        """True when one run is asked for."""
        return not self.slo and len(self.all_connections()) == 1 and len(self.all_rates()) < 2

    def all_connections(self) -> list[int]:
        """The numbers of connections, one for each run."""
        default = str(_OPEN_CONNECTIONS if self.open else 4)
        numbers = _numbers("--connections", self.connections or default)
        if any(number != int(number) or number > _MOST_CONNECTIONS for number in numbers):
            raise UsageError(f"--connections takes whole numbers from 1 to {_MOST_CONNECTIONS}")
        return [int(number) for number in numbers]

    def all_rates(self) -> list[float]:
        """The rates, one for each run."""
        return _numbers("--rate", self.rate) if self.rate else []


@dataclass(frozen=True, slots=True)
class OutputOptions:
    """Options about the report."""

    as_json: Json = False
    csv: Annotated[
        Path | None,
        typer.Option("--csv", metavar="FILE", help="Write a row for each run, too"),
    ] = None
    html: Annotated[
        Path | None,
        typer.Option("--html", metavar="FILE", help="Write a page with charts, too"),
    ] = None


def _numbers(option: str, text: str) -> list[float]:
    try:
        numbers = [float(word) for word in split_words([text])]
    except ValueError:
        numbers = []
    if not numbers or not all(0 < number < float("inf") for number in numbers):
        raise UsageError(f"{option} {text}: write one number above 0, or several with commas")
    return numbers
