"""The server as a whole: the only place that puts its parts together.

`serve` is the entry point of the serving process: it configures logging and installs signal
handlers.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import uvloop

from enginecrate.builder.ladder.steps import open_ladder
from enginecrate.engines.cpu_cores import available_cores
from enginecrate.errors import DeviceLost, EnginecrateError, ModelNotReady
from enginecrate.manifest import load_manifest
from enginecrate.server.decoding.decoding import Decoding
from enginecrate.server.http.listener import BACKLOG, listen, url_of
from enginecrate.server.http.server import HttpLimits, HttpServer
from enginecrate.server.http.workers import Workers
from enginecrate.server.logs.configuration import configure_logs
from enginecrate.server.logs.events import log_event
from enginecrate.server.memory.budget import MemoryBudget
from enginecrate.server.memory.leases import LeasePool
from enginecrate.server.model.climber import Climber, MakeSteps
from enginecrate.server.model.served_model import ServedModel
from enginecrate.server.processes.front_end_count import FrontEndCount, log_count
from enginecrate.server.reload import LiveSettings, ReadSettings
from enginecrate.server.routes import make_routes
from enginecrate.server.statistics.http_statistics import HttpStatistics
from enginecrate.server.statistics.lease_gauges import measure_leases
from enginecrate.settings import Settings, unknown_variables
from enginecrate.version import __version__

__all__ = ["serve"]

_ENGINE_CLOSE_SECONDS = 0.5

_BODIES = 8
"""All bodies that are being worked on together may take this many times the limit for one."""

_log = logging.getLogger(__name__)


def serve(
    path: Path,
    settings: Settings,
    *,
    announce: Callable[[str], None] | None = None,
    make_steps: MakeSteps = open_ladder,
    read_settings: ReadSettings | None = None,
    count: FrontEndCount | None = None,
) -> None:
    """Serve the app in this process until SIGTERM or SIGINT; requests that run are answered first.

    The server listens, and says that it is alive, before the model is loaded and proven. Golden
    samples that fail leave it running, never ready, with the reason in `/v2/health/ready`; what
    makes loading impossible ends it.

    Args:
        path: the project's folder, or its manifest.
        settings: resolved.
        announce: called with the server's URL as soon as it listens.
        make_steps: the rungs of the engine ladder, by default those of the project's stack.
        read_settings: reads the settings again, on SIGHUP.
        count: why there are no front ends, for the log.

    Raises:
        ProjectError: the manifest cannot be used.
        AddressInUse: the server cannot listen.
        EnginecrateError: the model cannot be loaded.
    """
    configure_logs(settings)
    for words in unknown_variables():
        _log.warning("%s", words)
    if count is not None:
        log_count(count)
    model = ServedModel(load_manifest(path).manifest)
    with contextlib.ExitStack() as opened:
        listeners = listen(settings.host, settings.http_port)
        for listener in listeners:
            opened.enter_context(contextlib.closing(listener))
        runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
        with runner:
            climber = Climber(model, path, settings, make_steps)
            live = LiveSettings(settings, read_settings)
            runner.run(_serve(model, climber, live, listeners, announce))


async def _serve(
    model: ServedModel,
    climber: Climber,
    live: LiveSettings,
    listeners: Sequence[socket.socket],
    announce: Callable[[str], None] | None,
) -> None:
    settings = live.settings
    threads = settings.decode_threads or available_cores()
    budget = MemoryBudget(settings.decode_memory_bytes)
    workers = Workers(
        threads,
        max_pending=settings.max_pending,
        queue_seconds=settings.queue_seconds,
        name="decode",
        budget=budget,
    )
    decoding = Decoding(
        workers, budget, max_pending=settings.max_pending, seconds=settings.request_timeout_seconds
    )
    model.statistics.page.measure(
        "decoding", lambda: decoding.workers.waiting + decoding.costly.waiting
    )
    pool = LeasePool(_BODIES * settings.max_body_bytes)
    server = HttpServer(
        make_routes(model, decoding, settings),
        workers,
        pool,
        HttpStatistics(model.statistics.page),
        HttpLimits(
            settings.max_body_bytes, settings.request_timeout_seconds, settings.keep_alive_seconds
        ),
    )
    measure_leases(model.statistics.page, pool)
    model.statistics.page.measure("connections", lambda: server.connections)
    end = _End()
    loader = _Loader(model, climber, end)
    model.on_device_lost = loader.lose_device
    with _signals(lambda: _drain(live, end, model, climber), live.reread):
        url = url_of(listeners[0])
        log_event(_log, f"listening on {url}", url=url, port=listeners[0].getsockname()[1],
                  app=model.name, version=model.version, tool_version=__version__)  # fmt: skip
        if announce is not None:
            announce(url)
        loader.start()
        accepting = await server.listen(listeners, BACKLOG)
        await end.wait()
        for each in accepting:
            each.close()
        await server.drain(settings.shutdown_seconds)
        ended = await asyncio.to_thread(model.close, _ENGINE_CLOSE_SECONDS)
        decoding.close()
        workers.close()
    log_event(_log, "stopped" if ended else "stopped; an engine was still running")
    if loader.error is not None:
        raise loader.error


class _End:
    """The end of the server, which any thread may bring about."""

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    @property
    def has_come(self) -> bool:
        return self._event.is_set()

    def come(self) -> None:
        """End the server."""
        with contextlib.suppress(RuntimeError):  # the loop has ended already
            self._loop.call_soon_threadsafe(self._event.set)

    async def wait(self) -> None:
        """Wait until it comes."""
        await self._event.wait()


class _Loader:
    """Loads the model in a thread, so that the server answers meanwhile, and improves it."""

    def __init__(self, model: ServedModel, climber: Climber, end: _End) -> None:
        self.error: EnginecrateError | None = None
        self._model = model
        self._climber = climber
        self._end = end
        self._thread = threading.Thread(target=self._load, name="loader", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def lose_device(self, error: DeviceLost) -> None:
        """End the server with the error, so that whatever watches over it starts it again."""
        self.error = error
        self._end.come()

    def _load(self) -> None:
        try:
            self._climber.climb()
        except ModelNotReady:  # the server was stopped meanwhile
            return
        except EnginecrateError as exc:
            self._give_up(exc)
        except Exception as exc:
            _log.exception("loading the model failed")
            error = EnginecrateError(
                f"loading the model failed unexpectedly ({type(exc).__name__}); the log tells more"
            )
            self._give_up(error)

    def _give_up(self, error: EnginecrateError) -> None:
        if self._model.is_serving:  # it goes on with what it has
            _log.error("the model is not improved any more: %s", error)
            return
        with contextlib.suppress(ModelNotReady):
            self._model.fail(str(error))
            self.error = error
        self._end.come()


def _drain(live: LiveSettings, end: _End, model: ServedModel, climber: Climber) -> None:
    """Say that the server is not ready any more; stop it after the setting `drain_seconds`."""
    if model.is_draining:
        return
    model.drain()
    seconds = live.settings.drain_seconds
    after = f", {seconds:g} s from now" if seconds else ""
    log_event(_log, f"stopping{after}: running requests are answered first")

    def stop() -> None:
        end.come()
        model.stop()
        climber.stop()

    if seconds:
        asyncio.get_running_loop().call_later(seconds, stop)
    else:
        stop()


@contextlib.contextmanager
def _signals(stop: Callable[[], None], reload: Callable[[], object]) -> Iterator[None]:
    """SIGTERM and SIGINT stop the server; a second SIGINT ends the process at once."""
    loop = asyncio.get_running_loop()
    interrupts = 0

    def interrupted() -> None:
        nonlocal interrupts
        interrupts += 1
        if interrupts > 1:
            os._exit(128 + signal.SIGINT)
        stop()

    handled = {signal.SIGTERM: stop, signal.SIGINT: interrupted, signal.SIGHUP: reload}
    for number, handler in handled.items():
        loop.add_signal_handler(number, handler)
    try:
        yield
    finally:
        for number in handled:
            loop.remove_signal_handler(number)
