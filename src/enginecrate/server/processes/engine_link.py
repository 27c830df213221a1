"""A front end's way to an engine process: requests go there and answers come back."""

from __future__ import annotations

import itertools
import logging
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial

from enginecrate.errors import EnginecrateError, ModelNotReady, QueueFull
from enginecrate.server.memory.arena import Arena
from enginecrate.server.memory.leases import Lease, LeasePool
from enginecrate.server.processes.channel import Channel
from enginecrate.server.processes.error_codes import error_of
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
from enginecrate.server.scheduling.batch import Execution, PendingExecution
from enginecrate.server.scheduling.batch import Lease as HeldLease
from enginecrate.server.scheduling.client import Client, own_client
from enginecrate.values import Array, Tensors, TensorSpec

__all__ = ["ChannelScheduler", "EngineLink", "PlanSignature"]

_GONE = "the engine has ended and is started again; send the request again after a moment"

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class PlanSignature:
    """A plan of an engine process, as requests name it.

    number: of the plan, unique in the engine process.
    max_batch: 0 when the first dimension is not a batch.
    """

    number: int
    inputs: Sequence[TensorSpec]
    outputs: Sequence[TensorSpec]
    max_batch: int
    largest: dict[str, int] = field(default_factory=dict)
    """Bytes of one sample, for outputs whose size is not known: the most so far."""

    def room(self, samples: int) -> int:
        """Bytes for the outputs of a batch; 0 when nothing is known of one of them."""
        total = 0
        for spec in self.outputs:
            size = fixed_bytes(spec, samples if self.max_batch else 0)
            if size is None:
                most = self.largest.get(spec.name)
                if most is None:
                    return 0
                size = most * max(1, samples)
            total += aligned(size)
        return total

    def note(self, outputs: Sequence[TensorPlace], samples: int) -> None:
        """Remember how large outputs of unknown size were."""
        for spec, place in zip(self.outputs, outputs, strict=True):
            if fixed_bytes(spec, samples if self.max_batch else 0) is None:
                each = -(-place.size // max(1, samples))
                self.largest[spec.name] = max(self.largest.get(spec.name, 0), each)


@dataclass(slots=True, eq=False)
class _Request:
    """A request that the engine process has.

    held: memory that the engine reads or writes until it answers.
    room: the lease that the outputs lie in.
    """

    plan: PlanSignature
    samples: int
    future: PendingExecution
    held: list[HeldLease]
    room: Lease | None
    submitted_ns: int


class EngineLink:
    """The way to one engine process; it ends with it. `submit` may be called from any thread."""

    def __init__(
        self,
        end: socket.socket,
        pool: LeasePool,
        on_state: Callable[[State], None],
        on_closed: Callable[[], None],
    ) -> None:
        """Nothing is read before `start`.

        Args:
            end: of the channel.
            pool: shared arenas, of this front end.
            on_state: called in the loop's thread.
            on_closed: called there once the engine process is gone, after every request has
                failed.
        """
        self._waiting = (0.0, 0.0)
        self._pool = pool
        self._on_state = on_state
        self._on_closed = on_closed
        self._numbers = itertools.count(1)
        self._requests: dict[int, _Request] = {}
        self._announced: set[int] = set()
        self._announcing = threading.Lock()
        self._channel = Channel(
            end,
            {
                Done: self._done,
                Failed: self._failed,
                RoomNeeded: self._room_needed,
                State: self._state,
            },
            DESCRIPTORS,
            self._closed,
        )

    @property
    def pending(self) -> int:
        """Requests that the engine process has not answered."""
        return len(self._requests)

    @property
    def waiting_seconds(self) -> float:
        """How long a request would wait: what the engine process has said, less the time since."""
        seconds, told = self._waiting
        return max(0.0, seconds - (time.monotonic() - told)) if seconds else 0.0

    @property
    def is_closed(self) -> bool:
        return self._channel.is_closed

    def start(self) -> None:
        """Read from now on, in the running loop."""
        self._channel.start()

    def close(self) -> None:
        """Give the engine process up: every request fails."""
        if not self._channel.is_closed:
            self._channel.close()
            self._end()

    def submit(
        self,
        plan: PlanSignature,
        inputs: Tensors,
        deadline: float | None,
        client: Client,
        lease: HeldLease | None,
    ) -> PendingExecution:
        """Send a request to the engine process.

        Args:
            plan: that is to run.
            inputs: every input of the plan.
            deadline: as `Scheduler.submit`.
            client: who sends it.
            lease: of the memory that inputs lie in; those in an arena are not copied.

        Raises:
            QueueFull: no memory is left for it.
            ModelNotReady: the engine process is gone.
        """
        if self._channel.is_closed:
            raise ModelNotReady(_GONE)
        samples = _samples(plan, inputs)
        places, room, held = self._lend(plan, samples, inputs, lease)
        number = next(self._numbers)
        request = _Request(
            plan, samples, PendingExecution(), held, room[0] if room else None,
            time.perf_counter_ns(),
        )  # fmt: skip
        request.future.withdraw = partial(self._cancel, number)
        self._requests[number] = request
        sent = self._channel.send(
            Submit(
                number, plan.number, places, room[1] if room else None,
                deadline or 0.0, client.address, client.connection,
            )
        )  # fmt: skip
        if not sent and self._requests.pop(number, None) is not None:
            request.future.withdraw = None
            self._release(request)
            raise ModelNotReady(_GONE)
        return request.future

    def retire(self, plan: PlanSignature) -> None:
        """Say that no request will name a plan any more."""
        self._channel.send(PlanRetired(plan.number))

    def drop_arena(self, arena: Arena) -> None:
        """Close an arena, here and in the engine process."""
        with self._announcing:
            if arena.number in self._announced:
                self._announced.discard(arena.number)
                self._channel.send(ArenaDropped(arena.number))
        arena.close()

    def _cancel(self, number: int) -> None:
        self._channel.send(Cancel(number))

    # -- memory ---------------------------------------------------------------------------------

    def _lend(
        self, plan: PlanSignature, samples: int, inputs: Tensors, lease: HeldLease | None
    ) -> tuple[list[TensorPlace], tuple[Lease, Place] | None, list[HeldLease]]:
        """Places of all inputs, the room for outputs, and what is held for both.

        What must be copied and the room lie in one slot.
        """
        arrays = [inputs[spec.name] for spec in plan.inputs]
        located = [self._located(array) if lease is not None else None for array in arrays]
        copied = [
            0 if place is not None else aligned(array_bytes(array))
            for array, place in zip(arrays, located, strict=True)
        ]
        room_bytes = plan.room(samples)
        needed = sum(copied) + room_bytes
        own = self._pool.lease(needed) if needed else None
        position = 0
        places: list[TensorPlace] = []
        for array, place, size in zip(arrays, located, copied, strict=True):
            if place is None and own is not None:
                exact = array_bytes(array)
                write_array(array, own.view[position : position + exact])
                place = Place(own.arena.number, own.offset + position, exact)
                position += size
            places.append(_with_shape(place, array))
        held: list[HeldLease] = []
        if own is not None:
            self._announce(own.arena)
            own.mark("submitted")
            held.append(own)
        if lease is not None:
            held.append(lease.retain())
        if own is None or not room_bytes:
            return places, None, held
        room = Place(own.arena.number, own.offset + position, room_bytes)
        return places, (own.retain(), room), held

    def _located(self, array: Array) -> Place | None:
        if array.dtype == object or not array.flags.c_contiguous or not array.size:
            return None
        found = self._pool.locate(array)
        if found is None:
            return None
        arena, offset = found
        self._announce(arena)
        return Place(arena.number, offset, array.nbytes)

    def _announce(self, arena: Arena) -> None:
        """The arena is on its way when this returns, whichever thread has sent it."""
        with self._announcing:
            if arena.number not in self._announced:
                self._channel.send(ArenaAdded(arena.number, arena.size), [arena.fd])
                self._announced.add(arena.number)

    # -- answers, in the loop's thread ----------------------------------------------------------

    def _done(self, message: Done, _: list[int]) -> None:
        self._waiting = (message.waiting_seconds, time.monotonic())
        request = self._requests.pop(message.id, None)
        if request is None:
            return
        for held in request.held:
            held.release()
        lease = request.room
        outputs: dict[str, Array] = {}
        if lease is not None:
            lease.mark("answered")
        for spec, place in zip(request.plan.outputs, message.outputs, strict=True):
            view = memoryview(b"")
            if lease is not None:
                start = place.offset - lease.offset
                view = lease.view[start : start + place.size]
            outputs[spec.name] = read_array(spec, view, place.shape)
        request.plan.note(message.outputs, request.samples)
        steps = message.input_ns + message.compute_ns + message.output_ns
        elapsed = time.perf_counter_ns() - request.submitted_ns
        execution = Execution(
            outputs, message.batch, max(message.queue_ns, elapsed - steps), message.input_ns,
            message.compute_ns, message.output_ns, lease,
        )  # fmt: skip
        future = request.future
        future.withdraw = None
        if future.set_running_or_notify_cancel():
            future.set_result(execution)
        elif lease is not None:
            lease.release()

    def _failed(self, message: Failed, _: list[int]) -> None:
        request = self._requests.pop(message.id, None)
        if request is not None:
            self._fail(request, error_of(message.code, message.message, message.reason))

    def _fail(self, request: _Request, error: EnginecrateError) -> None:
        self._release(request)
        request.future.withdraw = None
        if request.future.set_running_or_notify_cancel():
            request.future.set_exception(error)

    def _release(self, request: _Request) -> None:
        for held in request.held:
            held.release()
        if request.room is not None:
            request.room.release()

    def _room_needed(self, message: RoomNeeded, _: list[int]) -> None:
        request = self._requests.get(message.id)
        if request is None:
            return
        try:
            lease = self._pool.lease(message.size)
        except QueueFull:
            self._channel.send(Room(message.id, None))
            return
        lease.mark("submitted")
        self._announce(lease.arena)
        if request.room is not None:
            request.room.release()
        request.room = lease
        place = Place(lease.arena.number, lease.offset, message.size)
        self._channel.send(Room(message.id, place))

    def _state(self, message: State, _: list[int]) -> None:
        self._waiting = (message.waiting_seconds, time.monotonic())
        self._on_state(message)

    def _closed(self) -> None:
        self._end()
        self._on_closed()

    def _end(self) -> None:
        """The engine process is gone, and might still write into its arenas: none is used again."""
        self._pool.renew()
        while self._requests:
            _, request = self._requests.popitem()
            self._fail(request, ModelNotReady(_GONE))


class ChannelScheduler:
    """A `Scheduler` whose engines are in the engine process: one plan of it."""

    def __init__(self, link: EngineLink, plan: PlanSignature, *, queue_seconds: float) -> None:
        """`queue_seconds`: requests that would wait longer are refused before work is done."""
        self.plan = plan
        self._link = link
        self._queue_seconds = queue_seconds

    @property
    def depth(self) -> int:
        return self._link.pending

    @property
    def estimated_wait_seconds(self) -> float:
        return self._link.waiting_seconds

    def admit(self, samples: int, client: Client | None = None) -> None:
        if self._link.is_closed:
            raise ModelNotReady(_GONE)
        waiting = self._link.waiting_seconds
        if waiting > self._queue_seconds:
            raise QueueFull(
                f"what waits for the engine takes {waiting:.1f} s (setting queue_seconds: "
                f"{self._queue_seconds:g}); try again after a moment",
                reason="time",
            )

    def submit(
        self,
        inputs: Tensors,
        deadline: float | None = None,
        *,
        client: Client | None = None,
        lease: HeldLease | None = None,
        into: Tensors | None = None,
    ) -> Future[Execution]:
        return self._link.submit(self.plan, inputs, deadline, client or own_client(), lease)

    @property
    def runs_here(self) -> bool:
        return False

    def run_here(self, inputs: Tensors) -> Execution | None:
        return None

    def limit_batch(self, max_batch: int) -> None:
        """The engine process forms the batches."""

    def close(self, timeout: float = 5.0) -> bool:
        """The plan serves no more requests of this front end."""
        self._link.retire(self.plan)
        return True


def _samples(plan: PlanSignature, inputs: Mapping[str, Array]) -> int:
    if not plan.max_batch or not inputs:
        return 1
    return int(next(iter(inputs.values())).shape[0])


def _with_shape(place: Place | None, array: Array) -> TensorPlace:
    if place is None:  # without elements: no bytes
        return TensorPlace(0, 0, 0, array.shape)
    return TensorPlace(place.arena, place.offset, place.size, array.shape)
