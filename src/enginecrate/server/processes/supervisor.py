"""The supervisor: owns the listening sockets, starts the other processes, and ends them.

It imports settings, errors and logs, and neither numpy nor any runtime of models; it has one
thread. So there is little in it that can fail, and nothing that a client sends is read here.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import uvloop

from enginecrate.errors import EnginecrateError, ServerProcessFailed
from enginecrate.server.http.listener import listen, url_of
from enginecrate.server.logs.configuration import configure_logs, file_log
from enginecrate.server.logs.events import log_event
from enginecrate.server.logs.line_socket import LineReader
from enginecrate.server.processes.channel import channel_pair
from enginecrate.server.processes.children import Child, module_command
from enginecrate.server.processes.control import (
    Attach,
    Beat,
    Closed,
    Finish,
    FrontEnds,
    Identity,
    Open,
    Reload,
    Reloaded,
    Start,
    Taken,
    Unready,
)
from enginecrate.server.processes.dealer import Dealer
from enginecrate.server.processes.error_codes import error_of
from enginecrate.server.processes.front_end_count import FrontEndCount, log_count
from enginecrate.server.processes.restarts import Restarts
from enginecrate.server.reload import LiveSettings, ReadSettings
from enginecrate.server.statistics.page import make_pages
from enginecrate.settings import Settings, unknown_variables
from enginecrate.version import __version__

__all__ = ["Commands", "supervise"]

_SILENT_SECONDS = 2.0
"""An engine process that was ready and says nothing for so long, beside its patience, hangs."""
_STARTING_SECONDS = 60.0
"""The same before its first word: interpreters start slowly on a busy machine."""
_WATCH_SECONDS = 0.25
_LATE_SECONDS = 0.5
"""When even this process gets no time, silence says nothing."""

_ENGINE_END_SECONDS = 0.5
_KILL_SECONDS = 0.2
"""Time between a deadline and SIGKILL."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Commands:
    """The commands of the children."""

    engine: Sequence[str] = module_command("enginecrate.server.processes.engine_process")
    front_end: Sequence[str] = module_command("enginecrate.server.processes.front_end")


def supervise(
    path: Path,
    settings: Settings,
    count: FrontEndCount,
    *,
    announce: Callable[[str], None] | None = None,
    read_settings: ReadSettings | None = None,
    commands: Commands | None = None,
) -> None:
    """Serve the app with an engine process and front ends until SIGTERM or SIGINT.

    Args:
        path: the project's folder, or its manifest.
        settings: resolved.
        count: how many front ends.
        announce: called with the server's URL as soon as it listens.
        read_settings: reads the settings again, on SIGHUP.
        commands: of the children.

    Raises:
        AddressInUse: the server cannot listen.
        EnginecrateError: the model cannot be loaded, or processes end again and again.
    """
    configure_logs(settings)
    for words in unknown_variables():
        _log.warning("%s", words)
    listeners = listen(settings.host, settings.http_port)
    log_count(count)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        live = LiveSettings(settings, read_settings)
        supervisor = _Supervisor(path, live, count, listeners, announce, commands or Commands())
        runner.run(supervisor.run())


@dataclass(slots=True)
class _Place:
    """A process that the server has: the engine process, or one of the front ends.

    child: the process of the moment; `None` between its end and its next start.
    generation: how many it has had.
    """

    name: str
    number: int
    command: Sequence[str]
    child: Child | None = None
    generation: int = 0
    timer: asyncio.TimerHandle | None = None


class _Supervisor:
    """One run of a server."""

    def __init__(
        self,
        path: Path,
        live: LiveSettings,
        count: FrontEndCount,
        listeners: Sequence[socket.socket],
        announce: Callable[[str], None] | None,
        commands: Commands,
    ) -> None:
        self._path = path
        self._live = live
        self._count = count
        self._url = url_of(listeners[0])
        self._port: int = listeners[0].getsockname()[1]
        self._dealer = Dealer(listeners)
        self._announce = announce
        self._commands = commands
        self._engine = _Place("engine", 0, commands.engine)
        self._front_ends = [_Place("front end 1", 1, commands.front_end)]
        self._restarts = Restarts()
        self._identity: Identity | None = None
        self._was_ready = False
        self._heard = time.monotonic()
        self._patience = _STARTING_SECONDS
        self._lines: LineReader | None = None
        self._pages = make_pages(count.front_ends + 2, shared=True)
        self._pages[count.front_ends + 1].begin("supervisor", os.getpid())
        self._generation = 1
        self._reloads: dict[int, set[int]] = {}
        self._stopping = False
        self._error: EnginecrateError | None = None
        self._ended = asyncio.Event()
        self._changed = asyncio.Event()

    async def run(self) -> None:
        """Serve until a signal, or until it cannot go on."""
        file = file_log()
        if file is not None:
            self._lines = LineReader(file.write_line)
            self._lines.start()
        try:
            with _signals({signal.SIGTERM: self._stop, signal.SIGINT: self._interrupt(),
                           signal.SIGHUP: self._reload}):  # fmt: skip
                self._start(self._engine)
                self._start(self._front_ends[0])
                self._watch(time.monotonic())
                await self._ended.wait()
                await self._end()
        finally:
            self._kill_all()
            self._dealer.stop()
            if self._lines is not None:
                self._lines.close()
        log_event(_log, "stopped")
        if self._error is not None:
            raise self._error

    # -- the processes --------------------------------------------------------------------------

    def _places(self) -> list[_Place]:
        return [self._engine, *self._front_ends]

    def _living(self) -> list[Child]:
        return [place.child for place in self._places() if place.child is not None]

    def _start(self, place: _Place) -> None:
        """Start the process of a place, and join it to those on the other side."""
        place.timer = None
        place.generation += 1
        start = Start(
            path=str(self._path),
            settings=self._live.settings,
            name=place.name,
            number=place.number,
            generation=place.generation,
            body_bytes=self._count.body_bytes,
            front_ends=self._count.front_ends,
            log_socket=self._lines.descriptor if self._lines is not None else -1,
            statistics=self._pages.fd,
        )
        try:
            child = Child(place.command, start, self._handle, partial(self._child_ended, place))
        except OSError as exc:
            self._crashed(place, f"cannot be started: {exc.strerror}")
            return
        place.child = child
        self._pages[place.number].begin("front_end" if place.number else "engine", child.pid)
        log_event(_log, f"{place.name} is started", level=logging.DEBUG, child=child.pid)
        if place is self._engine:
            self._heard, self._patience = time.monotonic(), _STARTING_SECONDS
            for front_end in self._front_ends:
                self._join(front_end)
        else:
            self._join(place)
            self._tell_front_ends()

    def _join(self, front_end: _Place) -> None:
        """A channel of its own for each pair of generations."""
        if front_end.child is None or self._engine.child is None:
            return
        message = Attach(self._engine.generation, front_end.number)
        ends = channel_pair()
        for child, end in zip((self._engine.child, front_end.child), ends, strict=True):
            child.send(message, [end.fileno()])
            end.close()

    def _child_ended(self, place: _Place, child: Child) -> None:
        place.child = None
        self._pages[place.number].end()
        if place is not self._engine:
            self._dealer.remove(child)
        self._changed.set()
        if self._stopping:
            log_event(_log, f"{place.name} {child.reason()}", level=logging.DEBUG, child=child.pid)
            return
        self._tell_front_ends()
        failure = child.failure
        if failure is not None and failure.final and not self._was_ready:
            self._give_up(error_of(failure.code, failure.message))
        else:
            self._crashed(place, child.reason(), child.pid)

    def _crashed(self, place: _Place, reason: str, pid: int = 0) -> None:
        try:
            pause = self._restarts.crashed(place.name, reason, time.monotonic())
        except ServerProcessFailed as exc:
            log_event(_log, f"{place.name} {reason}", level=logging.ERROR, child=pid)
            self._give_up(exc)
            return
        words = f"{place.name} {reason}; it is started again in {pause:g} s"
        log_event(_log, words, level=logging.ERROR, child=pid)
        loop = asyncio.get_running_loop()
        place.timer = loop.call_later(pause, self._start, place)

    def _give_up(self, error: EnginecrateError) -> None:
        if self._error is None:
            self._error = error
        self._stop()

    def _kill_all(self) -> None:
        for place in self._places():
            if place.timer is not None:
                place.timer.cancel()
            if place.child is not None:
                place.child.kill()

    # -- messages -------------------------------------------------------------------------------

    def _handle(self, child: Child, message: Any) -> None:
        if isinstance(message, Taken):
            self._dealer.taken(child)
        elif isinstance(message, Closed):
            self._dealer.closed(child, message.count)
        elif isinstance(message, Beat):
            self._heard, self._patience = time.monotonic(), message.patience
            self._was_ready = self._was_ready or message.ready
        elif isinstance(message, Open):
            self._dealer.add(child)
            self._tell_front_ends()
        elif isinstance(message, Identity):
            self._heard = time.monotonic()
            self._learn(message)
        elif isinstance(message, Reloaded):
            self._acknowledge(child, message.generation)

    def _learn(self, identity: Identity) -> None:
        """The engine process has read the manifest: now it is known how many front ends fit."""
        if self._identity is not None or self._stopping:
            return
        self._identity = identity
        wanted = self._count.front_ends
        if wanted > 1 and not identity.stateless:
            log_event(_log, "one front end serves, since the app has a pipeline class of its own "
                      "that does not say `stateless = true`", level=logging.WARNING)  # fmt: skip
            wanted = 1
        self._front_ends += [
            _Place(f"front end {number}", number, self._commands.front_end)
            for number in range(2, wanted + 1)
        ]
        log_event(_log, f"listening on {self._url}", url=self._url, port=self._port,
                  app=identity.app, version=identity.version, tool_version=__version__,
                  frontends=wanted)  # fmt: skip
        if self._announce is not None:
            self._announce(self._url)
        for place in self._front_ends[1:]:
            self._start(place)

    def _tell_front_ends(self) -> None:
        message = FrontEnds(self._dealer.open_count, len(self._front_ends))
        for place in self._front_ends:
            if place.child is not None:
                place.child.send(message)

    def _send_all(self, message: msgspec.Struct) -> None:
        for child in self._living():
            child.send(message)

    # -- watching -------------------------------------------------------------------------------

    def _watch(self, due: float) -> None:
        """End an engine process that hangs."""
        now = time.monotonic()
        if now - due > _LATE_SECONDS:
            self._heard = now
        child = self._engine.child
        silence = now - self._heard
        if child is not None and silence > _SILENT_SECONDS + self._patience:
            log_event(_log, f"engine says nothing for {silence:.1f} s, and is ended",
                      level=logging.ERROR, child=child.pid)  # fmt: skip
            child.kill()
            self._heard = now
        loop = asyncio.get_running_loop()
        loop.call_later(_WATCH_SECONDS, self._watch, now + _WATCH_SECONDS)

    # -- settings -------------------------------------------------------------------------------

    def _reload(self) -> None:
        """Read the settings again, and send those that can change to all processes."""
        if self._stopping or not self._live.reread():
            return
        self._generation += 1
        living = self._living()
        self._reloads[self._generation] = {child.pid for child in living}
        for child in living:
            child.send(Reload(self._generation, self._live.settings))

    def _acknowledge(self, child: Child, generation: int) -> None:
        waiting = self._reloads.get(generation)
        if waiting is None:
            return
        waiting.discard(child.pid)
        if not waiting & {each.pid for each in self._living()}:
            del self._reloads[generation]
            log_event(_log, "all processes use the new settings", generation=generation)

    # -- the end --------------------------------------------------------------------------------

    def _interrupt(self) -> Callable[[], None]:
        interrupts = 0

        def interrupted() -> None:
            nonlocal interrupts
            interrupts += 1
            if interrupts > 1:
                self._kill_all()
                os._exit(128 + signal.SIGINT)
            self._stop()

        return interrupted

    def _stop(self) -> None:
        if self._stopping:
            return
        self._stopping = True
        seconds = self._live.settings.drain_seconds if self._error is None else 0.0
        after = f", {seconds:g} s from now" if seconds else ""
        log_event(_log, f"stopping{after}: running requests are answered first")
        for place in self._places():
            if place.timer is not None:
                place.timer.cancel()
                place.timer = None
        self._ended.set()

    async def _end(self) -> None:
        """The order of the end: readiness, listeners, front ends, engine process."""
        settings = self._live.settings
        if settings.drain_seconds and self._error is None:
            self._send_all(Unready())
            await asyncio.sleep(settings.drain_seconds)
        self._dealer.stop()
        await self._finish(self._front_ends, settings.shutdown_seconds)
        await self._finish([self._engine], _ENGINE_END_SECONDS)

    async def _finish(self, places: Sequence[_Place], seconds: float) -> None:
        """Let processes finish, and end those that do not."""
        for place in places:
            if place.child is not None:
                place.child.send(Finish(seconds))
        await self._wait_until_gone(places, seconds + _KILL_SECONDS)
        for place in places:
            if place.child is not None:
                log_event(_log, f"{place.name} does not end in time, and is killed",
                          level=logging.WARNING, child=place.child.pid)  # fmt: skip
                place.child.kill()
        await self._wait_until_gone(places, _KILL_SECONDS)

    async def _wait_until_gone(self, places: Sequence[_Place], seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while any(place.child is not None for place in places):
                    self._changed.clear()
                    await self._changed.wait()


@contextlib.contextmanager
def _signals(handlers: dict[signal.Signals, Callable[[], None]]) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    for number, handler in handlers.items():
        loop.add_signal_handler(number, handler)
    try:
        yield
    finally:
        for number in handlers:
            loop.remove_signal_handler(number)
