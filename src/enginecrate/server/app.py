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
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import uvloop

from enginecrate.builder.ladder.steps import open_ladder
from enginecrate.manifest import load_manifest
from enginecrate.server.front import make_front
from enginecrate.server.http.listener import BACKLOG, listen, url_of
from enginecrate.server.logs.configuration import configure_logs
from enginecrate.server.logs.events import log_event
from enginecrate.server.memory.leases import LeasePool
from enginecrate.server.model.climber import Climber, MakeSteps
from enginecrate.server.model.loader import ModelLoader
from enginecrate.server.model.served_model import ServedModel
from enginecrate.server.processes.front_end_count import FrontEndCount, log_count
from enginecrate.server.reload import LiveSettings, ReadSettings
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
    model = ServedModel(load_manifest(path).manifest)
    with contextlib.ExitStack() as opened:
        listeners = listen(settings.host, settings.http_port)
        for listener in listeners:
            opened.enter_context(contextlib.closing(listener))
        if count is not None:
            log_count(count)
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
    front = make_front(model, live, LeasePool(_BODIES * live.settings.max_body_bytes))
    server = front.server
    end = _End()
    loader = ModelLoader(model, climber, end.come)
    with _signals(lambda: _drain(live, end, model, loader), live.reread):
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
        await server.drain(live.settings.shutdown_seconds)
        ended = await asyncio.to_thread(model.close, _ENGINE_CLOSE_SECONDS)
        front.close()
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


def _drain(live: LiveSettings, end: _End, model: ServedModel, loader: ModelLoader) -> None:
    """Say that the server is not ready any more; stop it after the setting `drain_seconds`."""
    if model.is_draining:
        return
    model.drain()
    seconds = live.settings.drain_seconds
    after = f", {seconds:g} s from now" if seconds else ""
    log_event(_log, f"stopping{after}: running requests are answered first")

    def stop() -> None:
        end.come()
        loader.stop()

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
