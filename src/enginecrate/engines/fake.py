"""An engine without a model, for tests of everything that stands around engines."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

import numpy as np

from enginecrate.engines.check import check_inputs
from enginecrate.errors import EngineRunFailed
from enginecrate.values import Array, DataType, Tensors, TensorSpec

__all__ = ["FakeEngine"]


class FakeEngine:
    """A real engine whose arithmetic, speed and failures the test chooses. Thread-safe.

    It checks its inputs as every engine does, and lets go of the GIL while it "computes".

    Attributes:
        batches: the batch size of every run that began, in order.
        calls: the inputs of every run that began, in order.
        peak: the most runs that were under way at once.
        closed: whether `close` was called.
    """

    thread_safe = True

    def __init__(
        self,
        inputs: Sequence[TensorSpec],
        outputs: Sequence[TensorSpec],
        *,
        compute: Callable[[Tensors], Tensors] | None = None,
        delay_seconds: float = 0.0,
        max_batch: int = 8,
        blocked: threading.Event | None = None,
    ) -> None:
        """Make an engine.

        Args:
            inputs: what it takes.
            outputs: what it gives.
            compute: from inputs to outputs; default: zeros of the right shapes.
            delay_seconds: how long each run takes at least.
            max_batch: 0 when the first dimension is not a batch.
            blocked: while this event is not set, runs wait for it.
        """
        self.inputs: Sequence[TensorSpec] = tuple(inputs)
        self.outputs: Sequence[TensorSpec] = tuple(outputs)
        self.max_batch = max_batch
        self.batches: list[int] = []
        self.calls: list[Tensors] = []
        self.peak = 0
        self.closed = False
        self._compute = compute or self._zeros
        self._delay = delay_seconds
        self._blocked = blocked
        self._failures: deque[Exception] = deque()
        self._running = 0
        self._changed = threading.Condition()

    def fail_next(self, *errors: Exception) -> None:
        """Let the next runs raise these errors, one each."""
        self._failures.extend(errors)

    def wait_until_running(self, count: int = 1, timeout: float = 10.0) -> bool:
        """Wait until `count` runs are under way at once; `False` when the time is over."""
        with self._changed:
            return self._changed.wait_for(lambda: self._running >= count, timeout)

    def run(self, inputs: Tensors) -> Tensors:
        if self.closed:
            raise EngineRunFailed("the engine is closed")
        batch = check_inputs(self.inputs, inputs, self.max_batch)
        self._enter(batch, inputs)
        try:
            if self._blocked is not None:
                self._blocked.wait()
            if self._delay:
                time.sleep(self._delay)
            if self._failures:
                raise self._failures.popleft()
            return self._compute(inputs)
        finally:
            self._leave()

    def close(self) -> None:
        self.closed = True

    def _enter(self, batch: int, inputs: Tensors) -> None:
        with self._changed:
            self.batches.append(batch)
            self.calls.append(dict(inputs))
            self._running += 1
            self.peak = max(self.peak, self._running)
            self._changed.notify_all()

    def _leave(self) -> None:
        with self._changed:
            self._running -= 1
            self._changed.notify_all()

    def _zeros(self, inputs: Tensors) -> Tensors:
        batch = inputs[self.inputs[0].name].shape[0] if self.max_batch else 1
        return {spec.name: _zero(spec, batch) for spec in self.outputs}


def _zero(spec: TensorSpec, batch: int) -> Array:
    shape = [batch if axis == 0 and size < 0 else max(size, 1) for axis, size in
             enumerate(spec.shape)]  # fmt: skip
    if spec.datatype is DataType.BYTES:
        return np.full(shape, b"", dtype=object)
    return np.zeros(shape, dtype=spec.datatype.numpy)
