"""A loaded model with its engines, and the serving of requests with it.

A `Serving` counts the requests that are still with it, so that a replaced one is closed after the
last of them.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Self

import msgspec

from enginecrate.files.eviction import Pin
from enginecrate.pipelines.base import Limits, Pipeline
from enginecrate.server.inference_protocol.request import Signature
from enginecrate.server.scheduling.counters import CountedEngine, CountedScheduler
from enginecrate.server.scheduling.scheduler import Scheduler
from enginecrate.server.statistics.model_statistics import ModelStatistics
from enginecrate.values import Digest, PlanInfo

__all__ = ["EngineName", "LoadedModel", "Serving", "engine_name"]


class EngineName(msgspec.Struct, frozen=True):
    """The name of the engine that answers. `plan`: the first digits of its plan's digest."""

    backend: str
    precision: str
    device: str
    plan: str


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model whose engines are loaded.

    engine: as answers give it.
    engines: those behind the scheduler.
    pin: keeps the plan in the cache; `None` when it is not there.
    one_by_one: why no batches are formed; empty when they may be.
    """

    pipeline: Pipeline
    scheduler: Scheduler
    info: PlanInfo
    signature: Signature
    labels: Sequence[str]
    instances: int
    limits: Limits
    engine: EngineName
    engines: Sequence[CountedEngine] = ()
    pin: Pin | None = None
    one_by_one: str = ""

    def close(self, timeout: float) -> bool:
        """Close the engines. Returns whether they ended in time."""
        ended = self.scheduler.close(timeout)
        if self.pin is not None:
            self.pin.close()
        return ended


def engine_name(info: PlanInfo) -> EngineName:
    """The name of a plan's engine."""
    plan = Digest(info.plan_digest).short
    return EngineName(info.backend, info.precision, info.device, plan)


class Serving:
    """A `LoadedModel` that answers requests. A request stays with the one that it began with.

        with model.using() as serving:
            ... serving.loaded, serving.scheduler ...

    Thread-safe.
    """

    def __init__(self, loaded: LoadedModel, statistics: ModelStatistics) -> None:
        self.loaded = loaded
        self.scheduler = CountedScheduler(
            loaded.scheduler, statistics, batched=bool(loaded.signature.max_batch)
        )
        self._users = 0
        self._retired = False
        self._unused = threading.Event()
        self._lock = threading.Lock()

    def serve_one_by_one(self, info: PlanInfo, note: str) -> None:
        """Form no batches, and take none: before the first request, since a batch spoils answers.

        Args:
            info: of the plan, with its largest batch of 1.
            note: why.
        """
        self.loaded.scheduler.limit_batch(1)
        signature = replace(self.loaded.signature, max_batch=1)
        self.loaded = replace(self.loaded, info=info, signature=signature, one_by_one=note)

    def go_live(self) -> None:
        """From now on the engines' runs are counted; before, they only prove the plan."""
        for engine in self.loaded.engines:
            engine.counting = True

    def take(self) -> bool:
        """Begin a request, which `with` ends; `False` when another one serves by now."""
        with self._lock:
            if self._retired:
                return False
            self._users += 1
            return True

    def retire(self) -> None:
        """Take no more requests."""
        with self._lock:
            self._retired = True
            if not self._users:
                self._unused.set()

    def wait_until_unused(self, timeout: float) -> bool:
        """After `retire`: wait until its last request is answered; `False`: not in time."""
        return self._unused.wait(timeout)

    def close(self, timeout: float) -> bool:
        """Close the engines. Returns whether they ended in time."""
        return self.loaded.close(timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with self._lock:
            self._users -= 1
            if self._retired and not self._users:
                self._unused.set()
