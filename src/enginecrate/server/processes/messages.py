"""The messages between a front end and the engine process.

Tensors are named by their position in the plan's signature, and lie in an arena of the front
end's. Each `Submit` gets exactly one `Done` or `Failed`, also when it was cancelled: until then
the engine may still read the inputs and write the outputs. BYTES tensors lie there as the Open
Inference Protocol sends them, each element behind its length.
"""

from __future__ import annotations

import msgspec

__all__ = [
    "DESCRIPTORS",
    "ArenaAdded",
    "ArenaDropped",
    "ArenaReleased",
    "Cancel",
    "Done",
    "Failed",
    "Place",
    "PlanRetired",
    "Room",
    "RoomNeeded",
    "State",
    "Submit",
    "TensorPlace",
]


class _Message(msgspec.Struct, array_like=True, tag=True, frozen=True):
    """Encoded as an array with the type's name in front."""


class Place(msgspec.Struct, array_like=True, frozen=True):
    """Bytes in an arena."""

    arena: int
    offset: int
    size: int


class TensorPlace(msgspec.Struct, array_like=True, frozen=True):
    """A tensor in an arena: `size` in bytes, its dtype is the signature's."""

    arena: int
    offset: int
    size: int
    shape: tuple[int, ...]


# -- from a front end ---------------------------------------------------------------------------


class ArenaAdded(_Message, frozen=True):
    """A new arena; its memfd comes with the message."""

    number: int
    size: int


class ArenaDropped(_Message, frozen=True):
    """No message names this arena any more. `ArenaReleased` answers it."""

    number: int


class Submit(_Message, frozen=True):
    """A request for an engine.

    inputs: in the order of the plan's signature.
    room: lent for the outputs; nothing is lent when their size is not known.
    deadline: on the clock of `time.monotonic`, which all processes share; 0: none.
    address, connection: the client, for fair shares.
    """

    id: int
    plan: int
    inputs: list[TensorPlace]
    room: Place | None
    deadline: float
    address: str
    connection: int


class Cancel(_Message, frozen=True):
    """Nobody needs the answer any more."""

    id: int


class Room(_Message, frozen=True):
    """Memory for the outputs, as `RoomNeeded` asked; `None`: there is none left."""

    id: int
    room: Place | None


class PlanRetired(_Message, frozen=True):
    """No request of this front end names the plan any more, and none will."""

    plan: int


# -- from the engine process --------------------------------------------------------------------


class ArenaReleased(_Message, frozen=True):
    """The engine has unmapped an arena."""

    number: int


class RoomNeeded(_Message, frozen=True):
    """The outputs take so many bytes; `Room` answers it."""

    id: int
    size: int


class Done(_Message, frozen=True):
    """The outputs of a request, in the order of the signature, and the times of its steps.

    waiting_seconds: as in `State`, at this moment.
    """

    id: int
    outputs: list[TensorPlace]
    batch: int
    queue_ns: int
    input_ns: int
    compute_ns: int
    output_ns: int
    waiting_seconds: float = 0.0


class Failed(_Message, frozen=True):
    """A request has no outputs. `code`: of an `EnginecrateError`; `reason`: of a `QueueFull`."""

    id: int
    code: str
    message: str
    reason: str = ""


class State(_Message, frozen=True):
    """The state of the engine process; sent when it changes, and twice a second.

    content: a `ModelSnapshot` in MessagePack, or nothing when it is as before.
    waiting_seconds: how long a request would wait that came now.
    running_seconds: how long the longest run of the moment takes by now.
    """

    content: bytes
    waiting_seconds: float
    running_seconds: float


DESCRIPTORS: dict[type[msgspec.Struct], int] = {ArenaAdded: 1}
"""Descriptors that come with a message, by its type."""
