"""Messages between the process that builds a plan and its parent, over pipes.

A frame is a kind (one byte), a length (8 bytes, little-endian) and the payload.
"""

from __future__ import annotations

from typing import BinaryIO, Literal

import msgspec

__all__ = [
    "Answer",
    "Refusal",
    "RefusedNode",
    "Request",
    "Step",
    "read_frame",
    "write_frame",
]

Shapes = dict[str, tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]]


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """A plan to build. Two frames follow: the ONNX model, and the timing cache (may be empty).

    device: a compute capability as `sm86`.
    element_types: of the tensors in the graph, as ONNX names them: they permit precisions where
        the network is not strongly typed.
    on_gpu: whether a GPU of that compute capability is there.
    weights_beside: where the model would be, for weights in files beside it (over 2 GB); empty:
        all weights are inside.
    """

    backend: str
    device: str
    profiles: tuple[Shapes, ...]
    element_types: tuple[str, ...]
    workspace_bytes: int
    optimization_level: int
    version_compatible: bool
    hardware_compatibility: Literal["none", "ampere_plus", "same_compute_capability"]
    strip_weights: bool
    require_timing_cache: bool
    on_gpu: bool
    weights_beside: str = ""


class Step(msgspec.Struct, frozen=True):
    """A step of the build, for progress."""

    name: str
    done: int
    total: int


class RefusedNode(msgspec.Struct, frozen=True):
    """A node that the parser refuses. `name` may be empty; `index` is -1 when it names none."""

    index: int
    name: str
    operator: str
    reason: str


class Refusal(msgspec.Struct, frozen=True):
    """The reasons why there is no plan.

    stage: what the builder was asked for when it refused.
    errors: what it said, in order.
    """

    stage: Literal["parse", "interface", "profile", "build", "timing_cache", "unavailable"]
    nodes: tuple[RefusedNode, ...] = ()
    errors: tuple[str, ...] = ()


class Answer(msgspec.Struct, frozen=True):
    """The plan is there. Two frames follow: the plan, and the timing cache (may be empty).

    fixed_addresses: whether the process ran at fixed addresses, so that the builder gives the
        same bytes each time.
    """

    fixed_addresses: bool
    notes: tuple[str, ...]


def write_frame(stream: BinaryIO, kind: bytes, payload: bytes | memoryview) -> None:
    """Send one frame. Raises `OSError` when the reader is gone."""
    stream.write(kind + len(payload).to_bytes(8, "little"))
    stream.write(payload)
    stream.flush()


def read_frame(stream: BinaryIO) -> tuple[bytes, bytes]:
    """The next frame: kind and payload. Raises `EOFError` when the writer has ended."""
    head = _exactly(stream, 9)
    return head[:1], _exactly(stream, int.from_bytes(head[1:], "little"))


def _exactly(stream: BinaryIO, size: int) -> bytes:
    data = stream.read(size)
    if len(data) != size:
        raise EOFError
    return data
