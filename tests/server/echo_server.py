"""An HTTP server in the test's own process that answers what it has understood, and its client."""

import asyncio
import contextlib
import mmap
import socket
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass

from enginecrate.errors import RouteUnknown
from enginecrate.server.http.connection import Connection
from enginecrate.server.http.messages import Request, Response
from enginecrate.server.http.router import Match, Route, RouteTable
from enginecrate.server.http.server import HttpServer
from enginecrate.server.http.shared import HttpLimits
from enginecrate.server.http.workers import Workers
from enginecrate.server.memory.leases import LeasePool
from enginecrate.server.statistics.http_statistics import HttpStatistics
from enginecrate.server.statistics.layout import PAGE_BYTES
from enginecrate.server.statistics.page import CounterPage

METHODS = (
    "GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "REPORT", "M-SEARCH", "PURGE",
    "SEARCH", "LINK", "UNLINK", "QUERY", "SOURCE", "PRI", "ANNOUNCE",
)  # fmt: skip

BACKLOG = 1024


class EchoTable(RouteTable):
    """All paths but `/unknown` are known."""

    def match(self, method: str, path: str) -> Match:
        if path == "/unknown":
            raise RouteUnknown("there is no path /unknown here")
        return super().match(method, path)


async def echo(request: Request) -> Response:
    """Method, path and body, in a header, so that `HEAD` tells it, too."""
    if request.path == "/slow":
        await asyncio.sleep(0.05)
    body = bytes(request.body).decode("latin-1").encode("unicode_escape").decode()
    return Response(200, (("echo", f"{request.method} {request.path} {body}".strip()),), (b"x",))


def echo_routes() -> list[Route]:
    """Routes for every method and path."""
    return [
        Route(method, pattern, echo)
        for method in METHODS
        for pattern in ("/", "*", "/{path*}")
    ]  # fmt: skip


@dataclass
class EchoServer:
    """The server that runs, and the connections that were made."""

    server: HttpServer
    pool: LeasePool
    connections: list[Connection]
    port: int = 0

    def protocol(self) -> Connection:
        """A new connection's protocol, remembered."""
        self.connections.append(self.server.protocol())
        return self.connections[-1]


@contextlib.asynccontextmanager
async def echo_server(
    *, routes: Iterable[Route] | None = None, seconds: float = 60, max_body_bytes: int = 65536
) -> AsyncIterator[EchoServer]:
    """Serve until the end of the block. `seconds`: for a body, and between two requests."""
    pool = LeasePool(1 << 24)
    workers = Workers(1, max_pending=8)
    statistics = HttpStatistics(CounterPage(memoryview(mmap.mmap(-1, PAGE_BYTES))))
    limits = HttpLimits(max_body_bytes, seconds, seconds)
    table = EchoTable(echo_routes() if routes is None else routes)
    echoing = EchoServer(HttpServer(table, workers, pool, statistics, limits), pool, [])
    loop = asyncio.get_running_loop()
    listening = await loop.create_server(echoing.protocol, "127.0.0.1", 0, backlog=BACKLOG)
    echoing.port = listening.sockets[0].getsockname()[1]
    try:
        yield echoing
    finally:
        listening.close()
        await echoing.server.drain(0)
        workers.close()
        pool.close()


async def record_answers(port: int, data: bytes, *, piece: int = 0) -> list[str]:
    """Send bytes, and read until the server closes the connection.

    Args:
        port: of the server, on this machine.
        data: what is sent.
        piece: bytes that are sent at a time, each in a packet of its own; 0: all at once.

    Returns:
        For each answer its status, what the header `echo` says, and "closes" when it says so.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 24)
    writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    answers: list[str] = []
    try:
        with contextlib.suppress(ConnectionError):  # the server has closed it before all was sent
            for start in range(0, len(data), piece or len(data)):
                writer.write(data[start : start + (piece or len(data))])
                await writer.drain()
                await asyncio.sleep(0)
        is_head = data.startswith(b"HEAD ")
        while (answer := await read_answer(reader, is_head=is_head and not answers)) is not None:
            answers.append(answer)
    except ConnectionError:
        answers.append("reset")
    finally:
        writer.close()
    return answers


async def read_answer(reader: asyncio.StreamReader, *, is_head: bool = False) -> str | None:
    """One answer, as `record_answers` writes it down; `None` at the end of the connection."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as exc:
        return f"cut off: {exc.partial!r}" if exc.partial else None
    first, *lines = head.decode("latin-1").split("\r\n")[:-2]
    headers = dict(line.split(": ", 1) for line in lines)
    status = first.split(" ")[1]
    if status == "100":
        return status
    if not is_head:
        await reader.readexactly(int(headers["content-length"]))
    closes = "closes" if headers.get("connection") == "close" else ""
    return " ".join(part for part in (status, headers.get("echo", ""), closes) if part)
