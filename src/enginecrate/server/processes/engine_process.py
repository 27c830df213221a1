"""The engine process: owns the device, loads and proves plans, runs the requests of front ends.

Started by the supervisor, with the descriptor of its control channel as its only argument.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import sys
import time
from pathlib import Path

import msgspec
import uvloop

from enginecrate.builder.ladder.steps import open_ladder
from enginecrate.cuda.device import open_device
from enginecrate.server.logs.events import log_event
from enginecrate.server.model.climber import Climber, MakeSteps
from enginecrate.server.model.loader import ModelLoader
from enginecrate.server.model.served_model import ServedModel
from enginecrate.server.model.serving import Serving
from enginecrate.server.model.snapshot import snapshot
from enginecrate.server.processes.child import Link, begin, open_app
from enginecrate.server.processes.control import (
    Attach,
    Beat,
    Finish,
    Identity,
    Reload,
    Reloaded,
    Start,
    Unready,
)
from enginecrate.server.processes.front_end_link import FrontEndLink, ServedPlan
from enginecrate.server.processes.messages import State
from enginecrate.server.processes.registered_arenas import RegisteredArenas
from enginecrate.server.reload import LiveSettings

__all__ = ["main"]

_LOOK_SECONDS = 0.02
"""Between two looks at the model's state."""

_STATE_SECONDS = 0.5
_BEAT_SECONDS = 0.25
_CLOSE_SECONDS = 0.5
_LOADING_SECONDS = 120.0
"""Importing a runtime and loading a plan may hold the interpreter for long."""

_SWITCH_SECONDS = 0.0005
_EXIT_ERROR = 1
_EXIT_DEVICE = 3
"""The device is lost to this process; a new one may have it again."""

_log = logging.getLogger("enginecrate.server.processes.engine_process")  # it is run as a module


def main(make_steps: MakeSteps = open_ladder) -> None:
    """Run until the supervisor says so, or is gone.

    Args:
        make_steps: the rungs of the engine ladder, by default those of the project's stack.
    """
    control, start = begin(sys.argv[-1])
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        code = runner.run(_run(control, start, make_steps))
    sys.exit(code)


async def _run(control: socket.socket, start: Start, make_steps: MakeSteps) -> int:
    opened = open_app(control, start)
    if opened is None:
        return _EXIT_ERROR
    file, statistics = opened
    model = ServedModel(file.manifest, statistics)
    path = Path(start.path)
    process = _EngineProcess(
        control, start, model, Climber(model, path, start.settings, make_steps)
    )
    return await process.run()


class _EngineProcess:
    """One life of the engine process, in the loop's thread."""

    def __init__(
        self, control: socket.socket, start: Start, model: ServedModel, climber: Climber
    ) -> None:
        self._start = start
        self._model = model
        self._live = LiveSettings(start.settings)
        self._ended = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._loader = ModelLoader(model, climber, self._end_from_any_thread)
        self._link = Link(
            control,
            {Attach: self._attach, Reload: self._reload, Unready: self._unready,
             Finish: self._finish},
        )  # fmt: skip
        self._front_ends: dict[int, FrontEndLink] = {}
        self._arenas = RegisteredArenas()
        self._plans: dict[int, ServedPlan] = {}
        self._held: dict[int, tuple[Serving, set[int]]] = {}
        self._number = 0
        self._seen: object = None
        self._content = b""
        self._told = 0.0
        self._beaten = 0.0
        self._finish_seconds = 0.0

    async def run(self) -> int:
        """Serve until the end; the exit code."""
        model = self._model
        self._link.start()
        pipeline = model.manifest.pipeline
        stateless = pipeline.module is None or pipeline.stateless
        self._link.send(Identity(model.name, model.version, stateless))
        model.statistics.page.publish_regularly()
        self._loader.start()
        self._look()
        await self._ended.wait()
        error = self._loader.error
        if error is not None:
            log_event(_log, str(error), level=logging.ERROR, code=error.code, kind=error.kind)
            self._link.fail(error, final=True)
            return _EXIT_DEVICE if model.is_serving else _EXIT_ERROR
        await self._answer_what_runs()
        self._loader.stop()
        await asyncio.to_thread(model.close, _CLOSE_SECONDS)
        return 0

    async def _answer_what_runs(self) -> None:
        until = time.monotonic() + self._finish_seconds
        while time.monotonic() < until and any(
            front_end.running for front_end in self._front_ends.values()
        ):
            await asyncio.sleep(_LOOK_SECONDS)

    def _end_from_any_thread(self) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended already
            self._loop.call_soon_threadsafe(self._ended.set)

    # -- the supervisor's messages --------------------------------------------------------------

    def _attach(self, message: Attach, descriptors: list[int]) -> None:
        (fd,) = descriptors
        number = message.front_end
        before = self._front_ends.pop(number, None)
        if before is not None:
            before.close()
            self._forget_front_end(number)
        end = socket.socket(fileno=fd)
        front_end = FrontEndLink(number, end, self._plans, self._retired, self._gone, self._arenas)
        self._front_ends[number] = front_end
        front_end.start()
        if self._content:
            front_end.send_state(self._state(self._content))

    def _reload(self, message: Reload, _: list[int]) -> None:
        self._live.use(message.settings)
        self._link.send(Reloaded(message.generation))

    def _unready(self, message: Unready, _: list[int]) -> None:
        self._model.drain()

    def _finish(self, message: Finish, _: list[int]) -> None:
        self._finish_seconds = message.seconds
        self._ended.set()

    # -- front ends -----------------------------------------------------------------------------

    def _gone(self, front_end: FrontEndLink) -> None:
        if self._front_ends.get(front_end.number) is front_end:
            del self._front_ends[front_end.number]
            self._forget_front_end(front_end.number)

    def _forget_front_end(self, number: int) -> None:
        for plan in list(self._held):
            self._release(plan, number)

    def _retired(self, front_end: FrontEndLink, plan: int) -> None:
        self._release(plan, front_end.number)

    def _release(self, plan: int, front_end: int) -> None:
        """A front end names a plan no more; the last one lets a replaced plan go."""
        held = self._held.get(plan)
        if held is None:
            return
        serving, names = held
        names.discard(front_end)
        if plan != self._number and not names:
            del self._held[plan], self._plans[plan]
            serving.__exit__(None, None, None)

    # -- the state ------------------------------------------------------------------------------

    def _look(self) -> None:
        """Tell what has changed; and now and then that nothing has."""
        model = self._model
        now = time.monotonic()
        self._take_new_plan()
        self._arenas.sweep()
        seen = (model.state, model.reason, model.ladder.rungs, model.golden_state, self._number)
        if seen != self._seen:
            self._seen = seen
            self._content = msgspec.msgpack.encode(snapshot(model, self._number))
            self._tell(self._state(self._content), now)
        elif now - self._told > _STATE_SECONDS:
            self._tell(self._state(b""), now)
        if now - self._beaten > _BEAT_SECONDS:
            self._beaten = now
            self._link.send(Beat(model.is_ready, self._patience()))
        self._loop.call_later(_LOOK_SECONDS, self._look)

    def _take_new_plan(self) -> None:
        """A plan that serves since the last look gets a number, and stays while it is named."""
        serving = self._model.serving
        current = self._held.get(self._number)
        if serving is None or (current is not None and current[0] is serving):
            return
        if not serving.take():
            return
        loaded = serving.loaded
        if loaded.info.device != "cpu":
            self._arenas.use(open_device(0))
        before = self._number
        self._number += 1
        self._plans[self._number] = ServedPlan(
            loaded.signature.inputs,
            loaded.signature.outputs,
            loaded.signature.max_batch,
            loaded.scheduler,
        )
        self._held[self._number] = (serving, set(self._front_ends))
        if before in self._held:
            self._release(before, -1)

    def _state(self, content: bytes) -> State:
        return State(content, self._model.estimated_wait_seconds, 0.0)

    def _tell(self, state: State, now: float) -> None:
        self._told = now
        for front_end in self._front_ends.values():
            front_end.send_state(state)

    def _patience(self) -> float:
        """Seconds that this process may be silent."""
        ladder_rests = self._model.is_serving and self._model.ladder.building is None
        return _LOADING_SECONDS / 20 if ladder_rests else _LOADING_SECONDS


if __name__ == "__main__":
    main()
