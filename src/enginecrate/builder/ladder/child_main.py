"""The process that builds one plan beside a server.

The job is the first line of standard input; what is told about it are lines of JSON on standard
output (`child_process.Told`). Standard input stays open as long as the server lives: its end ends
this process and all that it has started, however the server came to its end.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import BinaryIO

import msgspec

from enginecrate.builder.graphs.graph_inputs import GraphInputs
from enginecrate.builder.graphs.typed_graphs import obtain_graph
from enginecrate.builder.ladder.child_process import (
    Built,
    BuiltInMemory,
    Failed,
    Job,
    Noted,
    Stepped,
    Told,
)
from enginecrate.builder.ladder.memory_plans import keep_in_memory
from enginecrate.builder.plans.plan import obtain_plan
from enginecrate.builder.plans.targets import Target
from enginecrate.builder.project.project import Project, open_project
from enginecrate.engines.base import BuiltPlan, Plan
from enginecrate.engines.cache.plans import PlanRequest, PlanStore
from enginecrate.errors import CacheFull, EnginecrateError
from enginecrate.settings import load_settings
from enginecrate.stacks.catalog import get_stack
from enginecrate.values import Digest

__all__ = ["main", "rung_name"]

_NICENESS = 10
_TOLD_EVERY_SECONDS = 0.2


def main() -> None:
    """Build. A failure that is no `EnginecrateError` is a traceback and exit status 1."""
    # Whatever a library prints must not mix with what is told on standard output.
    with os.fdopen(os.dup(1), "wb", buffering=0) as output:
        os.dup2(2, 1)
        job = msgspec.json.decode(sys.stdin.buffer.readline(), type=Job)
        threading.Thread(target=_end_with_the_server, daemon=True).start()
        _step_back()
        teller = _Teller(output)
        logging.getLogger().addHandler(_Forwarded(teller))
        try:
            teller.tell(_build(job, teller))
        except EnginecrateError as exc:
            teller.tell(Failed(exc.code, str(exc)))


def _build(job: Job, teller: _Teller) -> Told:
    settings = load_settings(environment={}, flags=job.settings)
    stack = get_stack(job.stack)
    target = Target(stack, stack.rungs[job.rung], job.device, job.precision)
    project = open_project(Path(job.project), settings)
    store = PlanStore(settings.cache_path)
    full = False

    def keep(built: BuiltPlan, error: CacheFull) -> Plan:
        nonlocal full
        full = True
        return keep_in_memory(built, error, job.spare)

    # Calibration is the long part, so that the lock holds for the whole rung, not for the plan.
    with contextlib.ExitStack() as locks:
        with contextlib.suppress(CacheFull):  # then no process waits for another
            locks.enter_context(store.building(rung_name(project, target), teller.progress))
        inputs = GraphInputs(project, settings, teller.progress)
        graph = obtain_graph(inputs, target.precision, target.scheme, settings, teller.progress)
        plan = obtain_plan(project, target, graph, settings, teller.progress, when_full=keep).plan
    if full:
        return BuiltInMemory(plan.info)
    return Built(PlanStore.key(PlanRequest.of(plan.info)))


def rung_name(project: Project, target: Target) -> str:
    """A name for the lock: other projects and other rungs may be built at the same time."""
    parts = (project.file.digest, project.model.source_digest, target)
    return Digest.of("\n".join(map(str, parts)).encode()).hex


class _Teller:
    """Tells the server, though not more often than people can read."""

    def __init__(self, output: BinaryIO) -> None:
        self._output = output
        self._lock = threading.Lock()
        self._step = ""
        self._told = 0.0

    def tell(self, told: Told) -> None:
        with self._lock:
            self._output.write(msgspec.json.encode(told) + b"\n")

    def progress(self, step: str, done: int, total: int) -> None:
        now = time.monotonic()
        if step != self._step or done == total or now - self._told >= _TOLD_EVERY_SECONDS:
            self._step, self._told = step, now
            self.tell(Stepped(step, done, total))


class _Forwarded(logging.Handler):
    """Sends warnings to the server's log."""

    def __init__(self, teller: _Teller) -> None:
        super().__init__(logging.WARNING)
        self._teller = teller

    def emit(self, record: logging.LogRecord) -> None:
        self._teller.tell(Noted(record.levelno, record.getMessage()))


def _end_with_the_server() -> None:
    while os.read(0, 4096):  # no buffered reading: its lock would hinder the interpreter's end
        pass
    if os.getpgid(0) == os.getpid():
        os.killpg(0, signal.SIGKILL)


def _step_back() -> None:
    """Requests go first; and when the machine has no memory left, this process goes first."""
    os.nice(_NICENESS)
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", "ascii")


if __name__ == "__main__":
    main()
