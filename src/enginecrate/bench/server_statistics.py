"""The server's own statistics over a run: where the time of a request went.

Source: the statistics extension of the Open Inference Protocol v2, `/v2/models/NAME/stats`. Sums
and counts since the server started; the difference of two answers is the run.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from enginecrate.bench.exchange import ask_json
from enginecrate.bench.wire import Address
from enginecrate.errors import ServerUnreachable

__all__ = ["ServerMeter", "ServerUse"]

_SECONDS = 5.0
_PARTS = ("queue", "compute_input", "compute_infer", "compute_output")


class ServerUse(msgspec.Struct, frozen=True, kw_only=True):
    """The server's side of a run; mean milliseconds of each request.

    requests: that it has answered; failed: that it has not. batch: samples of a mean execution.
    other_ms: of its time for a request what is neither queue nor computing.
    """

    model: str
    requests: int
    failed: int
    executions: int
    batch: float
    request_ms: float
    queue_ms: float
    compute_input_ms: float
    compute_infer_ms: float
    compute_output_ms: float
    other_ms: float


class ServerMeter:
    """Reads the statistics of a model from `begin` to `use`."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._first: dict[str, Any] | None = None

    def begin(self) -> None:
        """Start to look."""
        self._first = _read(self._address)

    def use(self) -> ServerUse | None:
        """The difference since `begin`; `None` when the server does not tell, or was restarted."""
        last = _read(self._address)
        if self._first is None or last is None:
            return None
        try:
            return _difference(self._first, last)
        except (KeyError, TypeError, ValueError):
            return None


def _read(address: Address) -> dict[str, Any] | None:
    """The first model's statistics."""
    try:
        models = ask_json(address, seconds=_SECONDS)["model_stats"]
        return dict(models[0])
    except (ServerUnreachable, KeyError, IndexError, TypeError, ValueError):
        return None


def _difference(first: Mapping[str, Any], last: Mapping[str, Any]) -> ServerUse | None:
    before, after = first["inference_stats"], last["inference_stats"]

    def count(name: str) -> int:
        return int(after[name]["count"] - before[name]["count"])

    def mean(name: str) -> float:
        requests = count(name)
        ns = after[name]["ns"] - before[name]["ns"]
        return round(ns / requests / 1e6, 4) if requests else 0.0

    executions = int(last["execution_count"] - first["execution_count"])
    samples = int(last["inference_count"] - first["inference_count"])
    if min(executions, samples, count("success")) < 0:
        return None
    parts = {f"{name}_ms": mean(name) for name in _PARTS}
    whole = mean("success")
    return ServerUse(
        model=str(last["name"]),
        requests=count("success"),
        failed=count("fail"),
        executions=executions,
        batch=round(samples / executions, 2) if executions else 0.0,
        request_ms=whole,
        other_ms=round(max(0.0, whole - sum(parts.values())), 4),
        **parts,
    )
