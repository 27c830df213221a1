"""Messages between a load run and its load processes: length, then MessagePack."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from enginecrate.bench.histogram import HistogramPart
from enginecrate.bench.wire import Address, Span

__all__ = [
    "FRAME_BYTES",
    "Arrivals",
    "FromProcess",
    "Job",
    "Ready",
    "Start",
    "Stop",
    "Tick",
    "ToProcess",
    "decode_from_process",
    "decode_to_process",
    "encode",
]

FRAME_BYTES = 4
"""Bytes of the length before each message."""


class Arrivals(msgspec.Struct, frozen=True, tag=True):
    """The arrivals of an open loop at one process.

    rate: a second. offset: seconds until the first, for constant distances. poisson: distances
    are random, from the exponential distribution, with this seed.
    """

    rate: float
    offset: float
    poisson: bool
    seed: int


class Job(msgspec.Struct, frozen=True, tag=True):
    """The work of one process.

    requests: sent in turn, beginning with number `first`. connections: how many; with `arrivals`
    at most so many. most: how many requests to measure; -1: until the stop.
    """

    address: Address
    requests: Sequence[bytes]
    first: int
    connections: int
    most: int
    timeout: float
    stable: Span | None
    arrivals: Arrivals | None = None


class Start(msgspec.Struct, frozen=True, tag=True):
    """The moments of the run, in nanoseconds of the monotonic clock. `until`: 0: no end is set."""

    begin: int
    measure: int
    until: int


class Stop(msgspec.Struct, frozen=True, tag=True):
    """The end of the run: no request begins after it. `drop`: those under way are dropped."""

    drop: bool = False


class Ready(msgspec.Struct, frozen=True, tag=True):
    """The process can begin."""


class Tick(msgspec.Struct, frozen=True, tag=True):
    """The counts since the last tick.

    begin, end: the time that it covers. latencies: of requests answered with 200.
    lag: from the intended start of each request of an open loop until the load looked at it: the
    fault of the load itself.
    answers: payload, stable part, how many. varied: answers that were too many to be kept.
    cpu_ns: processor time. wait_ns: time in which it could have worked, but had no core.
    last: when the last counted answer came, 0 without any. done: the last tick.
    """

    begin: int
    end: int
    latencies: HistogramPart
    lag: HistogramPart
    errors: dict[str, int]
    answers: Sequence[tuple[int, bytes, int]]
    varied: int
    cpu_ns: int
    wait_ns: int
    connections: int
    last: int
    done: bool


ToProcess = Job | Start | Stop
FromProcess = Ready | Tick

_encoder = msgspec.msgpack.Encoder()
_to_process: msgspec.msgpack.Decoder[ToProcess] = msgspec.msgpack.Decoder(ToProcess)
_from_process: msgspec.msgpack.Decoder[FromProcess] = msgspec.msgpack.Decoder(FromProcess)


def encode(message: ToProcess | FromProcess) -> bytes:
    """A message with its length before it."""
    body = _encoder.encode(message)
    return len(body).to_bytes(FRAME_BYTES, "little") + body


def decode_to_process(body: bytes) -> ToProcess:
    """A message to a load process, without its length."""
    return _to_process.decode(body)


def decode_from_process(body: bytes) -> FromProcess:
    """A message from a load process, without its length."""
    return _from_process.decode(body)
