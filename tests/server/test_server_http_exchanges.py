"""Raw exchanges as data, and clients that pipeline, drip, stall or leave, at the protocol class."""

import asyncio
import logging
import random
import tomllib
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import uvloop
from echo_server import EchoServer, echo, echo_server, read_answer, record_answers

from enginecrate.server.http import connection as connection_module
from enginecrate.server.http.head import HeadInvalid, parse_head
from enginecrate.server.http.messages import Request, Response
from enginecrate.server.http.router import Route

EXCHANGES = tomllib.loads((Path(__file__).parent / "http_exchanges.toml").read_text())["exchange"]

SECONDS = 4.0
"""For a head, a body, and between requests: the end of every exchange that lacks something."""

GET = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture
def short_time(monkeypatch):
    monkeypatch.setattr(connection_module, "HEAD_SECONDS", SECONDS)


def with_server(use: Callable[[EchoServer], Awaitable[None]], **options: object) -> None:
    """Run a client beside a server, in one loop; no error may reach the loop."""

    async def run() -> None:
        errors: list[dict] = []
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: errors.append(context))
        async with asyncio.timeout(60), echo_server(**options) as server:
            await use(server)
        assert not errors

    uvloop.run(run())


def test_raw_exchanges(short_time):
    """Each at once, and byte by byte: packets mean nothing."""
    complaints = []

    async def use(server: EchoServer) -> None:
        async def compare(exchange: dict, piece: int) -> None:
            data = exchange["data"].encode("latin-1")
            answers = await record_answers(server.port, data, piece=piece)
            if answers != exchange["answers"]:
                complaints.append((exchange["name"], piece, answers, exchange["answers"]))

        await asyncio.gather(
            *(compare(each, 0) for each in EXCHANGES),
            *(compare(each, 1) for each in EXCHANGES if each.get("pieces", True)),
        )
        assert server.pool.leased_bytes == 0

    with_server(use, seconds=SECONDS)
    assert not complaints, "\n".join(map(str, complaints))


def test_every_difference_from_the_class_before_has_a_reason():
    assert len({each["name"] for each in EXCHANGES}) == len(EXCHANGES) > 200
    for each in EXCHANGES:
        assert ("before" in each) == ("reason" in each), each["name"]
        assert each.get("before") != each["answers"], each["name"]


def test_damaged_heads_are_refused_or_read_and_nothing_else():
    """Bytes that are changed at random, with a seed."""
    choice = random.Random(7)
    sound = [each["data"].encode("latin-1").partition(b"\r\n\r\n")[0] for each in EXCHANGES]
    outcomes = set()
    for _ in range(20_000):
        data = bytearray(choice.choice(sound))
        for _ in range(choice.randrange(4)):
            position = choice.randrange(len(data) + 1)
            data[position : position + choice.randrange(2)] = choice.choice(
                [b"\r", b"\n", b"\0", b":", b" ", b"\t", b"\xff", b"#", b"[", b"x", b""]
            )
        if b"\r\n\r\n" in data:
            continue
        try:
            head = parse_head(bytes(data) + b"\r\n\r\n")
        except HeadInvalid as exc:
            outcomes.add(exc.status)
        else:
            outcomes.add(200)
            assert head.length is None or head.length >= 0
            assert not {"\r", "\n", "\0"} & set("".join(head.headers.values()) + head.path)
    assert outcomes == {200, 400, 501}


def test_a_pipelined_body_that_is_there_in_part():
    """Reading was paused while the request before it was answered, and goes on for the rest."""

    async def use(server: EchoServer) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(GET.replace(b"/a", b"/slow"))
        await asyncio.sleep(0.01)
        writer.write(b"POST /b HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\n\r\nabc")
        assert await read_answer(reader) == "200 GET /slow"
        writer.write(b"def")
        assert await read_answer(reader) == "200 POST /b abcdef"
        writer.close()

    with_server(use)


def test_the_refused_body_of_a_pipelined_request_is_read():
    async def use(server: EchoServer) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(GET.replace(b"/a", b"/slow"))
        await asyncio.sleep(0.01)
        writer.write(b"POST /unknown HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\n\r\nabc")
        assert await read_answer(reader) == "200 GET /slow"
        assert await read_answer(reader) == "404 closes"
        writer.write(b"def")
        assert await read_answer(reader) is None
        writer.close()

    with_server(use)


def test_nothing_is_begun_for_a_client_that_does_not_take_its_answer():
    begun = 0

    async def large(request: Request) -> Response:
        nonlocal begun
        begun += 1
        return Response(200, (), (bytes(16 << 20),))

    async def use(server: EchoServer) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1024)
        writer.write(GET)
        while begun == 0:
            await asyncio.sleep(0)
        for _ in range(200):
            writer.write(GET)
            await asyncio.sleep(0)
        assert begun == 1
        for _ in range(3):
            assert await read_answer(reader) == "200"
        writer.close()

    with_server(use, routes=[Route("GET", "/a", large)])


def test_pipelined_requests_of_many_clients_leave_turns_to_others():
    """In one round of the loop a few are begun, however many clients send them."""
    begun = 0

    def quick(request: Request) -> Response:
        nonlocal begun
        begun += 1
        return Response(200, (), (b"x",))

    async def use(server: EchoServer) -> None:
        clients = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(40)]
        for _, writer in clients:
            writer.write(GET * 20)
        rounds = []
        while begun < 40 * 20:
            before = begun
            await asyncio.sleep(0)
            rounds.append(begun - before)
        rounds.sort()
        assert sum(rounds) == 40 * 20
        firsts = [each for each in rounds if each > 8]  # of several clients, read in one round
        assert sum(firsts) <= 40 + 8 * len(firsts)
        for _, writer in clients:
            writer.close()

    with_server(use, routes=[Route("GET", "/a", echo, None, quick)])


def test_a_client_that_leaves_while_it_is_worked_on_leaves_no_traceback(caplog):
    """Also when the handler answers none the less."""
    left = asyncio.Event()

    async def stubborn(request: Request) -> Response:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            left.set()
        return Response(200, (), (b"late",))

    async def use(server: EchoServer) -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(GET)
        while not server.connections:
            await asyncio.sleep(0)
        writer.write(GET[:-2])
        writer.close()
        await left.wait()
        while server.server.connections:
            await asyncio.sleep(0)

    with caplog.at_level(logging.WARNING):
        with_server(use, routes=[Route("GET", "/a", stubborn)], seconds=1)
    assert not caplog.records


def test_empty_lines_give_no_time():
    async def use(server: EchoServer) -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        while not server.connections:
            await asyncio.sleep(0)
        before = server.connections[0].deadline
        for _ in range(20):
            writer.write(b"\r\n")
            await asyncio.sleep(0)
        assert server.connections[0].deadline == before
        writer.close()

    with_server(use)


def test_many_pipelined_requests_are_answered_in_order():
    """With bodies of all framings, at any cut of the packets."""
    choice = random.Random(3)
    data, wanted = b"", []
    for number in range(400):
        body = bytes(choice.choices(b"ab\r\n0", k=choice.choice([0, 1, 7, 300])))
        text = body.decode().encode("unicode_escape").decode()
        wanted.append(f"200 POST /{number} {text}".strip())
        data += b"POST /%d HTTP/1.1\r\nHost: x\r\n" % number
        if choice.random() < 0.5:
            data += b"Content-Length: %d\r\n\r\n" % len(body) + body
        else:
            data += b"Transfer-Encoding: chunked\r\n\r\n"
            data += b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if body else b"0\r\n\r\n"

    async def use(server: EchoServer) -> None:
        for _ in range(5):
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)

            async def send(writer: asyncio.StreamWriter = writer) -> None:
                position = 0
                while position < len(data):
                    size = choice.choice([1, 10, 100, 5000])
                    writer.write(data[position : position + size])
                    position += size
                    await writer.drain()
                    await asyncio.sleep(0)

            sending = asyncio.create_task(send())
            answers = [await read_answer(reader) for _ in wanted]
            await sending
            writer.close()
            assert not [pair for pair in zip(answers, wanted, strict=True) if pair[0] != pair[1]]
        assert server.pool.leased_bytes == 0

    with_server(use, routes=[Route("POST", "/{path*}", echo)])


def test_bodies_that_are_announced_take_no_memory_of_others():
    """The pool has 16 MiB."""

    async def use(server: EchoServer) -> None:
        head = b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"
        silent = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(4)]
        for _, writer in silent:
            writer.write(head % (8 << 20))
        while server.pool.leased_bytes == 0:
            await asyncio.sleep(0)
        for size in (1 << 20, 3 << 20):
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(head % size + bytes(size))
            assert await read_answer(reader) == f"200 POST /a {size}"
            writer.close()
        for _, writer in silent:
            writer.close()
        while server.server.connections:
            await asyncio.sleep(0)
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(head % (15 << 20) + bytes(15 << 20))  # nothing fits beside it
        assert await read_answer(reader) == f"200 POST /a {15 << 20}"
        writer.close()
        while server.server.connections:
            await asyncio.sleep(0)
        assert server.pool.leased_bytes == 0

    async def count(request: Request) -> Response:
        assert not any(request.body)
        return Response(200, (("echo", f"POST /a {len(request.body)}"),), (b"x",))

    with_server(use, routes=[Route("POST", "/a", count)], max_body_bytes=15 << 20)
