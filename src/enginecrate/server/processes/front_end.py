"""A front end: speaks HTTP, prepares and finishes; the engine process runs what it prepares.

Started by the supervisor, with the descriptor of its control channel as its only argument.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
from pathlib import Path

import msgspec
import uvloop

from enginecrate.pipelines.base import Limits
from enginecrate.server.front import Front, make_front
from enginecrate.server.memory.arena import Arena
from enginecrate.server.memory.leases import LeasePool
from enginecrate.server.model.follower import Follower
from enginecrate.server.model.served_model import ServedModel
from enginecrate.server.model.snapshot import ModelSnapshot, PlanFacts
from enginecrate.server.processes.child import Link, begin, open_app
from enginecrate.server.processes.control import (
    Attach,
    Closed,
    Connection,
    Finish,
    FrontEnds,
    Open,
    Reload,
    Reloaded,
    Start,
    Taken,
    Unready,
)
from enginecrate.server.processes.engine_link import ChannelScheduler, EngineLink, PlanSignature
from enginecrate.server.processes.messages import State
from enginecrate.server.processes.round_trip import RoundTrip
from enginecrate.server.reload import LiveSettings
from enginecrate.server.scheduling.scheduler import Scheduler

__all__ = ["main"]

_EXIT_ERROR = 1
_TRIM_SECONDS = 5.0
_LOOK_SECONDS = 0.01
_LAST_SECONDS = 0.05
_UNATTACHED_SECONDS = 10.0
"""More than the pause before an engine process is started again. One that lives and has given
this front end up is never joined to it again; a new front end is."""

_log = logging.getLogger("enginecrate.server.processes.front_end")  # it is run as a module


def main() -> None:
    """Run until the supervisor says so, or is gone."""
    control, start = begin(sys.argv[1])
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        code = runner.run(_run(control, start))
    sys.exit(code)


async def _run(control: socket.socket, start: Start) -> int:
    opened = open_app(control, start)
    if opened is None:
        return _EXIT_ERROR
    file, statistics = opened
    front_end = _FrontEnd(control, start, ServedModel(file.manifest, statistics), file.root)
    return await front_end.run()


def _lock(descriptor: int) -> Path | None:
    """A file that all processes of the server know, to be locked by one at a time."""
    return Path(f"/proc/self/fd/{descriptor}") if descriptor >= 0 else None


class _FrontEnd:
    """One life of a front end, in the loop's thread."""

    def __init__(
        self, control: socket.socket, start: Start, model: ServedModel, root: Path
    ) -> None:
        settings = start.settings
        self._model = model
        self._live = LiveSettings(settings)
        self._loop = asyncio.get_running_loop()
        self._pool = LeasePool(start.body_bytes, shared=True, on_idle=self._drop_arena)
        self._front: Front = make_front(
            model,
            self._live,
            self._pool,
            processes=max(1, start.front_ends),
            lock=_lock(start.statistics),
        )
        self._front.server.on_closed = self._connection_closed
        limits = Limits(settings.max_body_bytes, settings.max_image_pixels)
        proof = RoundTrip(model.manifest, root)
        self._follower = Follower(
            model, root, limits, proof.prove, settings.request_timeout_seconds
        )
        self._queue_seconds = settings.queue_seconds
        self._engine: EngineLink | None = None
        self._open = False
        self._draining = False
        self._code = 0
        self._ended = asyncio.Event()
        self._finish_seconds = 0.0
        self._tasks: set[asyncio.Task[None]] = set()
        self._link = Link(
            control,
            {
                Attach: self._attach,
                Connection: self._connection,
                FrontEnds: self._front_ends,
                Reload: self._reload,
                Unready: self._unready,
                Finish: self._finish,
            },
        )

    async def run(self) -> int:
        """Serve until the end; the exit code."""
        self._link.start()
        self._model.statistics.page.publish_regularly()
        self._trim()
        await self._ended.wait()
        await self._take_the_last()
        await self._front.server.drain(self._finish_seconds)
        self._model.stop()
        if self._engine is not None:
            self._engine.close()
        self._front.close()
        return self._code

    async def _take_the_last(self) -> None:
        """Read what connections that were handed over at last have sent already."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_LAST_SECONDS)
            await asyncio.sleep(_LAST_SECONDS)

    # -- the supervisor's messages --------------------------------------------------------------

    def _attach(self, message: Attach, descriptors: list[int]) -> None:
        (fd,) = descriptors
        if self._engine is not None:
            self._engine.close()
            self._follower.lose()
        end = socket.socket(fileno=fd)
        self._engine = EngineLink(end, self._pool, self._told, self._engine_gone)
        self._engine.start()

    def _connection(self, message: Connection, descriptors: list[int]) -> None:
        (fd,) = descriptors
        connection = socket.socket(fileno=fd)
        connection.setblocking(False)
        task = self._loop.create_task(self._take(connection))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self._link.send(Taken())

    async def _take(self, connection: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._front.server.protocol, connection)
        except OSError as exc:  # the client has left meanwhile
            _log.debug("a connection was lost on its way: %s", exc)
            connection.close()
            self._connection_closed()

    def _front_ends(self, message: FrontEnds, _: list[int]) -> None:
        self._model.front_ends = (message.open, message.wanted)

    def _reload(self, message: Reload, _: list[int]) -> None:
        self._live.use(message.settings)
        self._link.send(Reloaded(message.generation))

    def _unready(self, message: Unready, _: list[int]) -> None:
        self._draining = True
        self._model.drain()

    def _finish(self, message: Finish, _: list[int]) -> None:
        self._finish_seconds = message.seconds
        self._ended.set()

    def _connection_closed(self) -> None:
        self._link.send(Closed(1))

    # -- the engine process ---------------------------------------------------------------------

    def _told(self, state: State) -> None:
        if state.content:
            told = msgspec.msgpack.decode(state.content, type=ModelSnapshot)
            self._follower.follow(told, self._scheduler)
        self._open_once_proven()

    def _open_once_proven(self) -> None:
        """Take connections; where the engine process serves, once that was proven from here."""
        if self._open:
            return
        if self._follower.is_proving:
            self._loop.call_later(_LOOK_SECONDS, self._open_once_proven)
            return
        self._open = True
        self._link.send(Open())

    def _scheduler(self, plan: PlanFacts) -> Scheduler:
        if self._engine is None:  # it has told of the plan
            raise RuntimeError("there is no engine process")
        signature = PlanSignature(plan.number, plan.info.inputs, plan.info.outputs, plan.max_batch)
        return ChannelScheduler(self._engine, signature, queue_seconds=self._queue_seconds)

    def _engine_gone(self) -> None:
        self._follower.lose()
        self._loop.call_later(_UNATTACHED_SECONDS, self._end_unattached, self._engine)

    def _end_unattached(self, lost: EngineLink | None) -> None:
        """End, to be started again, when no engine process has come in place of one."""
        if self._engine is lost and not self._draining and not self._ended.is_set():
            _log.error("no engine process has come for %g s", _UNATTACHED_SECONDS)
            self._code = _EXIT_ERROR
            self._ended.set()

    # -- memory ---------------------------------------------------------------------------------

    def _drop_arena(self, arena: Arena) -> None:
        if self._engine is not None:
            self._engine.drop_arena(arena)
        else:
            arena.close()

    def _trim(self) -> None:
        """Give back what is not used now; what is used all the time stays."""
        self._pool.trim_idle()
        self._loop.call_later(_TRIM_SECONDS, self._trim)


if __name__ == "__main__":
    main()
