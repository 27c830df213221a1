"""A small HTTP server that does what a test wants."""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class Peer:
    """A server. `bodies`: what came in; `most`: most requests that were there at once."""

    url: str = ""
    bodies: list[bytes] = field(default_factory=list)
    connections: int = 0
    most: int = 0
    at_once: int = 0


@contextmanager
def peer(
    answer: Callable[[int, bytes], bytes], *, keep: bool = True, pause: float = 0.002
) -> Iterator[Peer]:
    """`answer(number, body)`: the whole reply; empty: the connection is closed."""
    found = Peer()
    loop = asyncio.new_event_loop()
    stopped = asyncio.Event()
    ready = threading.Event()
    writers: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        found.connections += 1
        writers.append(writer)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
                body = await reader.readexactly(length)
                found.at_once += 1
                found.most = max(found.most, found.at_once)
                found.bodies.append(body)
                number = len(found.bodies)
                await asyncio.sleep(pause)
                reply = answer(number, body)
                found.at_once -= 1
                writer.write(reply)
                await writer.drain()
                if not reply or not keep:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    async def run() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        found.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        ready.set()
        await stopped.wait()
        await asyncio.sleep(0.05)  # a connection that is being accepted needs the server
        server.close()
        for writer in writers:
            writer.close()
        if tasks := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait(tasks)

    thread = threading.Thread(target=loop.run_until_complete, args=(run(),))
    thread.start()
    assert ready.wait(10)
    try:
        yield found
    finally:
        loop.call_soon_threadsafe(stopped.set)
        thread.join()
        loop.close()


def reply(body: bytes, status: str = "200 OK", extra: str = "") -> bytes:
    return f"HTTP/1.1 {status}\r\n{extra}Content-Length: {len(body)}\r\n\r\n".encode() + body
