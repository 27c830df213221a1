"""A child of the supervisor: started by exec, spoken to over its control channel, ended.

Never by fork: what a parent holds of CUDA, even indirectly, would be broken in the child.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from enginecrate.server.processes.channel import Channel, Handlers, channel_pair
from enginecrate.server.processes.control import (
    DESCRIPTORS,
    TO_SUPERVISOR,
    Failure,
    Start,
)

__all__ = ["Child", "module_command"]

_POLL_SECONDS = 0.005
_END_SECONDS = 1.0
"""Longest time between the end of the control channel and the end of the process."""

_HELD_BACK = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def module_command(module: str) -> tuple[str, ...]:
    """The command that runs a module of ours; the control channel's descriptor comes behind it."""
    return (sys.executable, "-P", "-m", module)


class Child:
    """One process.

    name: for the log: `engine`, `front end 2`.
    failure: the error that it has sent, if it has.
    """

    def __init__(
        self,
        command: Sequence[str],
        start: Start,
        handle: Callable[[Child, Any], None],
        on_ended: Callable[[Child], None],
    ) -> None:
        """Start it, in the running loop.

        Args:
            command: the descriptor of its control channel is added.
            start: its first message.
            handle: called with each message from it.
            on_ended: called once, when the process is gone and all its messages are handled.

        Raises:
            OSError: no process can be started.
        """
        self.name = start.name
        self.number = start.number
        self.generation = start.generation
        self.failure: Failure | None = None
        self.started = time.monotonic()
        self._handle = handle
        self._on_ended = on_ended
        ours, theirs = channel_pair()
        try:
            with theirs:
                self.process = _spawn(command, theirs, start)
        except OSError:
            ours.close()
            raise
        handlers: Handlers = dict.fromkeys(TO_SUPERVISOR, self._take)
        self._channel = Channel(ours, handlers, DESCRIPTORS, self._channel_ended)
        self._channel.start()
        self._channel.send(start)

    @property
    def pid(self) -> int:
        return self.process.pid

    def send(self, message: msgspec.Struct, descriptors: Sequence[int] = ()) -> None:
        """Send it a message; a process that has ended loses it."""
        self._channel.send(message, descriptors)

    def kill(self) -> None:
        """End it at once. `on_ended` is called as for any other end."""
        self.process.kill()

    def reason(self) -> str:
        """How it has ended, in words."""
        code = self.process.returncode
        if self.failure is not None:
            return f"ended with {self.failure.code}: {self.failure.message}"
        if code is not None and code < 0:
            try:
                return f"was killed by {signal.Signals(-code).name}"
            except ValueError:
                return f"was killed by signal {-code}"
        return f"ended with exit code {code}"

    def _take(self, message: msgspec.Struct, descriptors: list[int]) -> None:
        for each in descriptors:
            os.close(each)
        if isinstance(message, Failure):
            self.failure = message
        else:
            self._handle(self, message)

    def _channel_ended(self) -> None:
        self._wait(time.monotonic() + _END_SECONDS)

    def _wait(self, until: float) -> None:
        """Wait for the end of the process, which follows that of its channel."""
        if self.process.poll() is not None:
            self._on_ended(self)
            return
        if time.monotonic() > until:
            self.process.kill()
        asyncio.get_running_loop().call_later(_POLL_SECONDS, self._wait, until)


def _spawn(command: Sequence[str], control: socket.socket, start: Start) -> subprocess.Popen[bytes]:
    others = (start.log_socket, start.statistics)
    environment = {
        **os.environ,
        # The child finds the same packages as we do, whatever put them on the path.
        "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry),
    }
    # A signal to the whole group must not end a child before it has its handlers.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _HELD_BACK)
    try:
        return subprocess.Popen(  # noqa: S603 -- our own interpreter and module
            [*command, str(control.fileno())],
            stdin=subprocess.DEVNULL,
            env=environment,
            pass_fds=[control.fileno(), *(each for each in others if each >= 0)],
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
