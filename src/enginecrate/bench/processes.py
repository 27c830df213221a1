"""The load processes: they are started, told what to do, listened to, and gone with the run."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Sequence
from typing import Self

from enginecrate.bench.messages import (
    FRAME_BYTES,
    FromProcess,
    Job,
    Ready,
    Tick,
    ToProcess,
    decode_from_process,
    encode,
)
from enginecrate.errors import SystemRefused

__all__ = ["LoadProcesses"]

_PROGRAM = "from enginecrate.bench.load_process import main; main()"
_PIPE_BYTES = 2**20
_KEPT = 2000


class LoadProcesses:
    """Processes with a job each; an asynchronous context manager."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        self._jobs = jobs
        self._processes: list[asyncio.subprocess.Process] = []
        self._listeners: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        """Start them, and wait until each of them can begin."""
        try:
            for job in self._jobs:
                self._processes.append(await _start(job))
            for process in self._processes:
                if not isinstance(await _receive(process), Ready):
                    raise await _ended(process)
        except BaseException:
            await self._end()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        """End them."""
        await self._end()

    def tell(self, message: ToProcess) -> None:
        """Send a message to each of them."""
        for process in self._processes:
            if process.stdin is not None and not process.stdin.is_closing():
                process.stdin.write(encode(message))

    async def listen(self, take: Callable[[int, Tick], None]) -> None:
        """Hand on every tick with the number of its process, until each has told its last.

        It may be cancelled and called again: no message is lost by that.

        Raises:
            SystemRefused: a process ended before that.
        """
        if not self._listeners:
            self._listeners = [
                asyncio.create_task(_listen(number, process, take))
                for number, process in enumerate(self._processes)
            ]
        done, _ = await asyncio.wait(self._listeners, return_when=asyncio.FIRST_EXCEPTION)
        for listener in done:
            listener.result()

    async def _end(self) -> None:
        for listener in self._listeners:
            listener.cancel()
        for process in self._processes:
            if process.returncode is None:
                process.kill()
            await process.wait()


async def _start(job: Job) -> asyncio.subprocess.Process:
    path = os.pathsep.join(entry for entry in sys.path if entry)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-P",
        "-c",
        _PROGRAM,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        limit=_PIPE_BYTES,
        env={**os.environ, "PYTHONPATH": path},
        start_new_session=True,  # Ctrl-C ends the run, and then the run ends them
    )
    if process.stdin is not None:
        process.stdin.write(encode(job))
    return process


async def _listen(
    number: int, process: asyncio.subprocess.Process, take: Callable[[int, Tick], None]
) -> None:
    while True:
        message = await _receive(process)
        if not isinstance(message, Tick):
            raise await _ended(process)
        take(number, message)
        if message.done:
            return


async def _receive(process: asyncio.subprocess.Process) -> FromProcess | None:
    output = process.stdout
    if output is None:
        return None
    try:
        size = int.from_bytes(await output.readexactly(FRAME_BYTES), "little")
        return decode_from_process(await output.readexactly(size))
    except asyncio.IncompleteReadError:
        return None


async def _ended(process: asyncio.subprocess.Process) -> SystemRefused:
    words = b"" if process.stderr is None else await process.stderr.read()
    code = await process.wait()
    tail = words.decode(errors="replace").strip()[-_KEPT:]
    return SystemRefused(
        f"a load process ended with {code}{': ' + tail if tail else ''}; if the machine lacks "
        "memory, ask for fewer connections"
    )
