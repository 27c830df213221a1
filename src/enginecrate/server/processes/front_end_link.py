"""The engine process's way to one front end: takes its requests, checks them, answers each once.

What a front end says about memory is checked against the arena before it is used, and a message
is read once: its values are this process's own when they are checked.
"""

from __future__ import annotations

import logging
import mmap
import os
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np

from enginecrate.errors import EnginecrateError, ModelNotReady, QueueFull, RequestInvalid
from enginecrate.server.memory.arena import SealError, map_shared
from enginecrate.server.processes.channel import Channel
from enginecrate.server.processes.messages import (
    DESCRIPTORS,
    ArenaAdded,
    ArenaDropped,
    Cancel,
    Done,
    Failed,
    Place,
    PlanRetired,
    Room,
    RoomNeeded,
    State,
    Submit,
    TensorPlace,
)
from enginecrate.server.processes.tensors import (
    aligned,
    array_bytes,
    fixed_bytes,
    read_array,
    write_array,
)
from enginecrate.server.scheduling.batch import Execution
from enginecrate.server.scheduling.client import Client
from enginecrate.server.scheduling.scheduler import Scheduler
from enginecrate.values import Array, Tensors, TensorSpec

__all__ = ["ArenaKeeper", "FrontEndLink", "ServedPlan"]

_MAX_FRONT_ENDS = 256

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ServedPlan:
    """A plan that requests may name. `max_batch` is 0 when the first dimension is not a batch."""

    inputs: Sequence[TensorSpec]
    outputs: Sequence[TensorSpec]
    max_batch: int
    scheduler: Scheduler


class ArenaKeeper(Protocol):
    """Something to be done with arenas as long as they are mapped."""

    def add(self, memory: mmap.mmap) -> None: ...

    def drop(self, memory: mmap.mmap) -> None:
        """It is used no more; what runs may still read and write it."""
        ...


class _FrontEndFault(Exception):
    """A front end sent what ours never sends."""


class FrontEndLink:
    """The way to one front end."""

    def __init__(
        self,
        number: int,
        end: socket.socket,
        plans: Mapping[int, ServedPlan],
        on_retired: Callable[[FrontEndLink, int], None],
        on_closed: Callable[[FrontEndLink], None],
        arenas: ArenaKeeper | None = None,
    ) -> None:
        """Nothing is read before `start`.

        Args:
            number: of the front end, less than 256.
            end: of the channel.
            plans: that may be named, by their numbers; read at each request.
            on_retired: called when the front end will not name a plan again.
            on_closed: called when the front end is gone.
            arenas: is told of each arena that is mapped, and of those that are not used any more.
        """
        self.number = number
        self._plans = plans
        self._on_retired = on_retired
        self._on_closed = on_closed
        self._keeper = arenas
        self._arenas: dict[int, mmap.mmap] = {}
        self._running: dict[int, Future[Execution]] = {}
        self._without_room: dict[int, tuple[ServedPlan, Execution]] = {}
        self._lock = threading.Lock()
        self._channel = Channel(
            end,
            {
                ArenaAdded: self._arena_added,
                ArenaDropped: self._arena_dropped,
                Submit: self._submit,
                Cancel: self._cancel,
                Room: self._room,
                PlanRetired: self._plan_retired,
            },
            DESCRIPTORS,
            self._closed,
        )

    @property
    def running(self) -> int:
        """Requests that are not answered yet."""
        return len(self._running)

    def start(self) -> None:
        """Read from now on, in the running loop."""
        self._channel.start()

    def send_state(self, state: State) -> None:
        """Tell the front end how things are. From any thread."""
        self._channel.send(state)

    def close(self) -> None:
        """Give the front end up."""
        self._channel.close()
        self._forget()

    # -- messages, in the loop's thread ---------------------------------------------------------

    def _arena_added(self, message: ArenaAdded, descriptors: list[int]) -> None:
        (fd,) = descriptors
        try:
            memory = self._arenas[message.number] = map_shared(fd, message.size)
            if self._keeper is not None:
                self._keeper.add(memory)
        except (SealError, OSError, ValueError) as exc:
            self._distrust(f"arena {message.number}: {exc}")
        finally:
            os.close(fd)

    def _arena_dropped(self, message: ArenaDropped, _: list[int]) -> None:
        memory = self._arenas.pop(message.number, None)  # unmapped with the last array in it
        if memory is not None and self._keeper is not None:
            self._keeper.drop(memory)

    def _submit(self, message: Submit, _: list[int]) -> None:
        if message.id in self._running:
            self._distrust(f"request {message.id} is there already")
            return
        plan = self._plans.get(message.plan)
        if plan is None:
            self._fail(message.id, ModelNotReady("the plan was replaced; send the request again"))
            return
        try:
            inputs = self._inputs(plan, message.inputs)
            room = self._view(message.room) if message.room is not None else None
        except (_FrontEndFault, RequestInvalid) as exc:
            self._distrust(f"request {message.id}: {exc}")
            return
        into = _arrays(plan, inputs, room) if room is not None else None
        client = Client(message.address, message.connection * _MAX_FRONT_ENDS + self.number)
        try:
            future = plan.scheduler.submit(
                inputs, message.deadline or None, client=client, into=into
            )
        except EnginecrateError as exc:
            self._fail(message.id, exc)
            return
        self._running[message.id] = future
        future.add_done_callback(
            partial(self._computed, message.id, plan, message.room, room, into)
        )

    def _cancel(self, message: Cancel, _: list[int]) -> None:
        future = self._running.get(message.id)
        if future is not None:
            future.cancel()

    def _room(self, message: Room, _: list[int]) -> None:
        with self._lock:
            waiting = self._without_room.pop(message.id, None)
        if waiting is None:
            return
        plan, execution = waiting
        try:
            if message.room is None:
                raise QueueFull(
                    "no memory is left for the outputs; try again after a moment", reason="memory"
                )
            self._answer(message.id, plan, execution, message.room, self._view(message.room))
        except EnginecrateError as exc:
            self._fail(message.id, exc)
        except _FrontEndFault as exc:
            self._distrust(f"request {message.id}: {exc}")

    def _plan_retired(self, message: PlanRetired, _: list[int]) -> None:
        self._on_retired(self, message.plan)

    def _closed(self) -> None:
        self._forget()
        self._on_closed(self)

    def _forget(self) -> None:
        """Take its requests out of the queue; what runs ends into memory that nobody reads."""
        for future in list(self._running.values()):
            future.cancel()
        self._running.clear()
        with self._lock:
            self._without_room.clear()
        arenas, self._arenas = self._arenas, {}
        if self._keeper is not None:
            for memory in arenas.values():
                self._keeper.drop(memory)

    # -- memory ---------------------------------------------------------------------------------

    def _inputs(self, plan: ServedPlan, places: Sequence[TensorPlace]) -> Tensors:
        if len(places) != len(plan.inputs):
            raise _FrontEndFault(f"{len(places)} inputs for {len(plan.inputs)}")
        inputs = {}
        for spec, place in zip(plan.inputs, places, strict=True):
            if any(size < 0 for size in place.shape):
                raise _FrontEndFault(f"input {spec.name!r} has the shape {place.shape}")
            view = self._view(Place(place.arena, place.offset, place.size)).toreadonly()
            inputs[spec.name] = read_array(spec, view, place.shape)
        return inputs

    def _view(self, place: Place) -> memoryview:
        if not place.size:
            return memoryview(bytearray())
        memory = self._arenas.get(place.arena)
        if memory is None:
            raise _FrontEndFault(f"arena {place.arena} is unknown")
        end = place.offset + place.size
        if place.offset < 0 or place.size < 0 or end > len(memory):
            raise _FrontEndFault(f"bytes {place.offset} to {end} of arena {place.arena}")
        return memoryview(memory)[place.offset : end]

    # -- answers, from any thread ---------------------------------------------------------------

    def _computed(
        self,
        number: int,
        plan: ServedPlan,
        place: Place | None,
        room: memoryview | None,
        into: Tensors | None,
        future: Future[Execution],
    ) -> None:
        """Runs in the engine's thread."""
        try:
            execution = future.result()
        except CancelledError:
            self._fail(number, ModelNotReady("the request was cancelled"))
            return
        except EnginecrateError as exc:
            self._fail(number, exc)
            return
        needed = sum(aligned(array_bytes(execution.outputs[spec.name])) for spec in plan.outputs)
        if needed and (place is None or room is None or place.size < needed):
            with self._lock:
                self._without_room[number] = (plan, execution)
            self._channel.send(RoomNeeded(number, needed))
            return
        self._answer(
            number, plan, execution, place or Place(0, 0, 0), room or memoryview(b""), into
        )

    def _answer(
        self,
        number: int,
        plan: ServedPlan,
        execution: Execution,
        place: Place,
        room: memoryview,
        into: Tensors | None = None,
    ) -> None:
        """Write the outputs where the front end wants them, unless they lie there already."""
        position = 0
        outputs = []
        for spec in plan.outputs:
            array = execution.outputs[spec.name]
            size = array_bytes(array)
            if position + size > len(room):
                raise QueueFull(
                    "the memory that was lent for the outputs is too small; try again",
                    reason="memory",
                )
            if into is None or array is not into[spec.name]:
                write_array(array, room[position : position + size])
            outputs.append(TensorPlace(place.arena, place.offset + position, size, array.shape))
            position += aligned(size)
        if execution.lease is not None:
            execution.lease.release()
        self._running.pop(number, None)
        self._channel.send(
            Done(
                number, outputs, execution.batch, execution.queue_ns, execution.input_ns,
                execution.compute_ns, execution.output_ns, plan.scheduler.estimated_wait_seconds,
            )
        )  # fmt: skip

    def _fail(self, number: int, error: EnginecrateError) -> None:
        self._running.pop(number, None)
        reason = error.reason if isinstance(error, QueueFull) else ""
        self._channel.send(Failed(number, error.code, str(error), reason))

    def _distrust(self, reason: str) -> None:
        """End a front end that sends what ours never sends."""
        _log.error("front end %d is given up: %s", self.number, reason)
        self.close()
        self._on_closed(self)


def _arrays(plan: ServedPlan, inputs: Tensors, room: memoryview) -> Tensors | None:
    """Arrays in the room for outputs, as they lie there; `None` where a size is not known."""
    samples = next(iter(inputs.values())).shape[0] if plan.max_batch and inputs else 0
    arrays: dict[str, Array] = {}
    position = 0
    for spec in plan.outputs:
        size = fixed_bytes(spec, samples)
        if size is None or position + size > len(room):
            return None
        shape = (samples, *spec.shape[1:]) if samples else spec.shape
        view = room[position : position + size]
        arrays[spec.name] = np.frombuffer(view, spec.datatype.numpy).reshape(shape)
        position += aligned(size)
    return arrays
