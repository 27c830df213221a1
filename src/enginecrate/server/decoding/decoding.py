"""Decides where a photo is decoded, by what it costs: in a thread, or in the decoder process.

Threads do what is cheap, side by side. What is costly waits in a queue of its own for one thread,
which lets the decoder process do it: so a costly photo holds up other costly ones only. A
pipeline class of the vendor's own runs in that thread itself: it cannot be killed, but it waits its
turn and for its memory like the others.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, InvalidStateError
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from PIL import Image

from enginecrate.errors import ImageTooCostly, MemoryLacking, error_class
from enginecrate.pipelines.annotate import annotate, annotation_cost
from enginecrate.pipelines.base import (
    ClassificationResult,
    DetectionResult,
    Limits,
    Pipeline,
    Prepared,
)
from enginecrate.pipelines.cost import DecodeCost, cost_of
from enginecrate.pipelines.image_input import ImageInput
from enginecrate.pipelines.loader import built_in_input
from enginecrate.pipelines.resized_picture import ResizedPicture
from enginecrate.server.decoding.decoder_process import Cancellation, DecoderProcess
from enginecrate.server.decoding.message import (
    Annotated,
    AnnotationOrder,
    Failed,
    Pictured,
    PictureOrder,
    pack,
    unpack_answer,
)
from enginecrate.server.http.workers import Gate, Withdraw, Workers
from enginecrate.server.memory.budget import MemoryBudget
from enginecrate.server.scheduling.client import Client

__all__ = ["DecodeJob", "Decoding", "Drawing"]

A = TypeVar("A", Annotated, Pictured)

_COSTLY_BYTES = 128 << 20
"""And no more than half of the memory that there is for decoding in threads."""
_COSTLY_MILLISECONDS, _OWN_COSTLY_MILLISECONDS = 300.0, 1000.0
"""A photo of 12 megapixels takes about 30 as JPEG, 130 as PNG, and 400 as WebP."""


class Decoding:
    """The threads and the process that decode for one server process."""

    def __init__(
        self,
        workers: Workers,
        budget: MemoryBudget,
        *,
        max_pending: int,
        seconds: float,
        lock: Path | None = None,
    ) -> None:
        """Start a thread.

        Args:
            workers: for what is cheap.
            budget: of memory for what is costly.
            max_pending: costly photos that may wait.
            seconds: longest time for a costly photo; no more than this waits, either.
            lock: see `DecoderProcess`.
        """
        self.workers = workers
        self.process = DecoderProcess(seconds=seconds, lock=lock)
        self.costly = Workers(
            1, max_pending=max_pending, queue_seconds=seconds, name="costly", budget=budget
        )
        self._budget = budget

    def job(self, pipeline: Pipeline, payload: bytes | memoryview, limits: Limits) -> DecodeJob:
        """The preparation of a photo, which `DecodeJob.post` starts.

        Raises:
            ImageTooCostly: it takes more memory than there is in all.
        """
        image_input = built_in_input(pipeline)
        cost = cost_of(payload, limits) if image_input is None else image_input.cost(payload)
        costly = self.is_costly(cost, own=image_input is None)
        self._check(cost, costly)
        return DecodeJob(self, pipeline, image_input, payload, cost, costly)

    def annotate(
        self,
        payload: bytes | memoryview,
        result: DetectionResult | ClassificationResult,
        limits: Limits,
        client: Client | None = None,
    ) -> Drawing:
        """Draw a result on a photo.

        Raises:
            ImageTooCostly: it takes more memory than there is in all.
            QueueFull: too much waits already.
        """
        cost = annotation_cost(payload, limits)
        costly = self.is_costly(cost)
        self._check(cost, costly)
        future: Future[bytes] = Future()
        cancellation = Cancellation()

        def run() -> None:
            if not future.set_running_or_notify_cancel():
                return
            with suppress(InvalidStateError):
                try:
                    with _memory_errors():
                        picture = draw()
                except BaseException as exc:
                    future.set_exception(exc)
                else:
                    future.set_result(picture)

        def draw() -> bytes:
            if not costly:
                return annotate(payload, result, limits)
            order = AnnotationOrder(
                limits,
                result if isinstance(result, DetectionResult) else None,
                result if isinstance(result, ClassificationResult) else None,
            )
            answer = self.process.call("annotation", pack(order, payload), cost, cancellation)
            return bytes(_checked(answer, Annotated)[1])

        withdraw = self.pool(costly).post(
            run, client=client, cost=cost.milliseconds / 1000, memory=cost.bytes
        )

        return Drawing(future, withdraw, cancellation)

    def is_costly(self, cost: DecodeCost, *, own: bool = False) -> bool:
        """True for what is not decoded in one of the threads.

        Args:
            cost: of the photo.
            own: by a pipeline class of the vendor's own. A photo of an ordinary camera is cheap
                for it, too, though it may take all of the photo's pixels.
        """
        limit = self.workers.budget.limit() if self.workers.budget is not None else 0
        most = limit // 2 if limit else sys.maxsize
        if not own:
            most = min(most, _COSTLY_BYTES)
        longest = _OWN_COSTLY_MILLISECONDS if own else _COSTLY_MILLISECONDS
        return cost.bytes > most or cost.milliseconds > longest

    def pool(self, costly: bool) -> Workers:
        """The threads for what is costly, or cheap."""
        return self.costly if costly else self.workers

    def close(self) -> None:
        """End the process and the thread; what runs is cancelled."""
        self.costly.close()
        self.process.close()

    def _check(self, cost: DecodeCost, costly: bool) -> None:
        limit = self._budget.limit() if costly else 0
        if limit and cost.bytes > limit:
            raise ImageTooCostly(
                f"decoding this image takes about {cost.bytes // 1_000_000:,} MB of memory, and "
                f"this server has {limit // 1_000_000:,} MB for it; send it smaller or as an "
                "ordinary JPEG, or give the server more memory (setting decode_memory_bytes)"
            )


@dataclass(frozen=True, slots=True)
class Drawing:
    """A picture that is drawn. `future`: of the PNG."""

    future: Future[bytes]
    withdraw: Withdraw
    cancellation: Cancellation

    def cancel(self) -> None:
        """Nobody waits for it any more."""
        self.future.cancel()
        self.withdraw()
        self.cancellation.cancel()


@dataclass(slots=True)
class DecodeJob:
    """One photo on its way to the model's input. is_costly: it waits and runs apart."""

    decoding: Decoding
    pipeline: Pipeline
    image_input: ImageInput | None
    payload: bytes | memoryview
    cost: DecodeCost
    is_costly: bool
    _cancellation: Cancellation = field(default_factory=Cancellation)

    def post(
        self,
        call: Callable[[], None],
        *,
        client: Client | None = None,
        cost: float = 0.0,
        gate: Gate | None = None,
    ) -> Withdraw:
        """Have a thread call this when it is the photo's turn; it calls `prepare`.

        Args:
            call: takes care of its own result and errors.
            client: as `Workers.post`.
            cost: seconds that a photo takes, as was measured here; a costly one has its own.
            gate: as `Workers.post`.

        Raises:
            QueueFull: too much waits already, or the client's share of it.
        """
        seconds = max(cost, self.cost.milliseconds / 1000)
        return self.decoding.pool(self.is_costly).post(
            call, client=client, cost=seconds, gate=gate, memory=self.cost.bytes
        )

    def prepare(self) -> Prepared:
        """Decode, resize and normalise.

        Raises:
            PipelineError: the photo cannot be used.
            MemoryLacking: there is not enough memory at the moment.
            CancelledError: it was cancelled.
        """
        with _memory_errors():
            if self.image_input is None or not self.is_costly:
                return self.pipeline.prepare(self.payload)
            return Prepared(*self.image_input.tensors(self._picture(self.image_input)))

    def cancel(self) -> None:
        """Nobody waits for it any more: a process that works on it is killed."""
        self._cancellation.cancel()

    def _picture(self, image_input: ImageInput) -> ResizedPicture:
        size = (image_input.width, image_input.height)
        order = PictureOrder(image_input.spec, size, image_input.limits)
        answer = self.decoding.process.call(
            "picture", pack(order, self.payload), self.cost, self._cancellation
        )
        head, pixels = _checked(answer, Pictured)
        image = Image.frombytes(head.mode, head.size, bytes(pixels))
        return ResizedPicture(image, head.placement)


def _checked(answer: bytes, wanted: type[A]) -> tuple[A, memoryview]:
    """The head of an answer and what follows; raises the error that it may be instead."""
    head, body = unpack_answer(answer)
    if isinstance(head, Failed):
        raise error_class(head.code)(head.words)
    assert isinstance(head, wanted)  # noqa: S101 -- our own other end
    return head, body


@contextmanager
def _memory_errors() -> Iterator[None]:
    """A photo is not damaged because this process lacks memory."""
    try:
        yield
    except MemoryError as exc:
        raise MemoryLacking(
            "there was not enough memory to decode the image, which may be right; try again after "
            "a moment, send it smaller, or as an ordinary JPEG"
        ) from exc
