"""A process that makes load: it takes a job from its standard input, and tells what it counted.

python -c "from enginecrate.bench.load_process import main; main()"
"""

from __future__ import annotations

import asyncio
import gc
import os
import sys
from collections.abc import Callable

import uvloop

from enginecrate.bench.messages import (
    FRAME_BYTES,
    FromProcess,
    Job,
    Ready,
    Start,
    Stop,
    ToProcess,
    decode_to_process,
    encode,
)
from enginecrate.bench.sender import Sender

__all__ = ["main"]


def main() -> None:
    """Run one job, and end."""
    output = os.dup(1)
    os.dup2(2, 1)  # what a library prints must not come between the messages
    with (
        open(output, "wb", buffering=0) as pipe,  # noqa: PTH123 (a descriptor)
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        runner.run(_run(lambda message: _write(pipe.fileno(), encode(message))))


async def _run(tell: Callable[[FromProcess], None]) -> None:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    job = await _receive(reader)
    if not isinstance(job, Job):
        return
    sender = Sender(job, tell)
    tell(Ready())
    start = await _receive(reader)
    if not isinstance(start, Start):
        return
    gc.freeze()  # what there is stays: a collection need not look at it
    stopper = loop.create_task(_stop(reader, sender))
    await sender.run(start)
    stopper.cancel()


async def _receive(reader: asyncio.StreamReader) -> ToProcess | None:
    """The next message; `None` when the run has gone."""
    try:
        size = int.from_bytes(await reader.readexactly(FRAME_BYTES), "little")
        return decode_to_process(await reader.readexactly(size))
    except asyncio.IncompleteReadError:
        return None


async def _stop(reader: asyncio.StreamReader, sender: Sender) -> None:
    message = await _receive(reader)
    sender.stop(drop=not isinstance(message, Stop) or message.drop)


def _write(descriptor: int, frame: bytes) -> None:
    rest = memoryview(frame)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
