"""Children of the supervisor without any model: `python fake_children.py engine|front_end FD`.

The front end answers `GET` on kept connections: `/` at once with its number and process, `/slow`
once the file of its folder that is named `gate` is there. Files in the project's folder make the
engine process fail: `fail` before its first word, `hang` makes it say nothing any more.
"""

import asyncio
import os
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path

from enginecrate.errors import ModelInvalid
from enginecrate.server.processes.child import Link, begin
from enginecrate.server.processes.control import (
    Attach,
    Beat,
    Closed,
    Connection,
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


async def engine(control: socket.socket, start: Start) -> None:
    folder = Path(start.path)
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    link = Link(control, {
        Attach: lambda message, fds: [os.close(fd) for fd in fds],
        Finish: lambda message, _: ended.set(),
        Reload: lambda message, _: link.send(Reloaded(message.generation)),
    })  # fmt: skip
    link.start()
    if (folder / "fail").exists():
        link.fail(ModelInvalid("the model is no model"), final=True)
        return
    link.send(Identity("fake", "1.0.0", stateless=not (folder / "stateful").exists()))

    def beat() -> None:
        link.send(Beat(ready=True, patience=0.0))
        if (folder / "crash").exists():
            os.kill(os.getpid(), signal.SIGSEGV)
        if (folder / "hang").exists():
            (folder / "hang").unlink()
            signal.pause()
        loop.call_later(0.1, beat)

    beat()
    await ended.wait()


class FrontEnd:
    def __init__(self, control: socket.socket, start: Start) -> None:
        self.start = start
        self.folder = Path(start.path)
        self.settings = start.settings
        self.ready, self.front_ends, self.busy = True, (0, 0), 0
        self.ending: float | None = None
        self.ended = asyncio.Event()
        self.writers: set[asyncio.StreamWriter] = set()
        self.link = Link(control, {
            Connection: self.connect,
            Finish: self.finish,
            FrontEnds: self.count,
            Reload: self.reload,
            Unready: self.unready,
        })  # fmt: skip
        self.tasks: set[asyncio.Task] = set()

    def connect(self, message: Connection, descriptors: list[int]) -> None:
        self.link.send(Taken())
        task = asyncio.create_task(self.serve(socket.socket(fileno=descriptors[0])))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def finish(self, message: Finish, _: list[int]) -> None:
        self.ending = message.seconds
        asyncio.get_running_loop().call_later(message.seconds, self.ended.set)
        self.close_idle()

    def close_idle(self) -> None:
        if self.ending is not None and not self.busy:
            self.ended.set()

    def count(self, message: FrontEnds, _: list[int]) -> None:
        self.front_ends = (message.open, message.wanted)

    def reload(self, message: Reload, _: list[int]) -> None:
        self.settings = message.settings
        self.link.send(Reloaded(message.generation))

    def unready(self, message: Unready, _: list[int]) -> None:
        self.ready = False

    async def serve(self, connection: socket.socket) -> None:
        reader, writer = await asyncio.open_connection(sock=connection)
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                self.busy += 1
                await self.answer(head.split(b" ")[1].decode(), writer)
                self.busy -= 1
                self.close_idle()
        writer.close()
        self.link.send(Closed(1))

    async def answer(self, path: str, writer: asyncio.StreamWriter) -> None:
        if path == "/slow":
            while not (self.folder / "gate").exists():
                await asyncio.sleep(0.01)
        words = {
            "/": f"{self.start.number} {os.getpid()}",
            "/slow": f"{self.start.number} {os.getpid()}",
            "/ready": f"{self.ready} {self.front_ends[0]} {self.front_ends[1]}",
            "/settings": f"{self.settings.log_level} {self.settings.http_port}",
        }[path]
        writer.write(f"HTTP/1.1 200 OK\r\ncontent-length: {len(words)}\r\n\r\n{words}".encode())
        await writer.drain()


async def front_end(control: socket.socket, start: Start) -> None:
    here = FrontEnd(control, start)
    here.link.start()
    here.link.send(Open())
    await here.ended.wait()


if __name__ == "__main__":
    asyncio.run(globals()[sys.argv[1]](*begin(sys.argv[2])))
