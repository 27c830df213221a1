"""Channels between processes: order, bursts, descriptors, and ends that misbehave."""

import asyncio
import os
import random
import socket
import struct
import threading

import msgspec
import pytest
import uvloop

from enginecrate.server.processes.channel import Channel, channel_pair


class Number(msgspec.Struct, array_like=True, tag=True, frozen=True):
    value: int
    payload: bytes = b""


class File(msgspec.Struct, array_like=True, tag=True, frozen=True):
    name: str


class End:
    """One end that keeps what arrives."""

    def __init__(self, end: socket.socket) -> None:
        self.numbers: list[int] = []
        self.sizes: list[int] = []
        self.files: list[tuple[str, int]] = []
        self.closed = 0
        self.changed = asyncio.Event()
        self.channel = Channel(
            end, {Number: self._number, File: self._file}, {File: 1}, self._closed
        )

    def _number(self, message: Number, descriptors: list[int]) -> None:
        assert descriptors == []
        self.numbers.append(message.value)
        self.sizes.append(len(message.payload))
        self.changed.set()

    def _file(self, message: File, descriptors: list[int]) -> None:
        self.files.append((message.name, *descriptors))
        self.changed.set()

    def _closed(self) -> None:
        self.closed += 1
        self.changed.set()

    async def until(self, condition) -> None:
        async with asyncio.timeout(20):
            while not condition():
                self.changed.clear()
                await self.changed.wait()


def joined(scenario) -> None:
    async def run() -> None:
        one, other = (End(end) for end in channel_pair())
        one.channel.start()
        other.channel.start()
        try:
            await scenario(one, other)
        finally:
            one.channel.close()
            other.channel.close()

    asyncio.run(run())


def test_messages_arrive_in_order_whatever_their_size():
    chance = random.Random(7)
    sizes = [chance.choice([0, 10, 70_000, 600_000]) for _ in range(200)]

    async def scenario(one: End, other: End) -> None:
        for value, size in enumerate(sizes):
            assert one.channel.send(Number(value, bytes(size)))
        await other.until(lambda: len(other.numbers) == 200)
        assert other.numbers == list(range(200))
        assert other.sizes == sizes

    joined(lambda one, other: scenario(one, other))


def test_threads_may_send():
    async def scenario(one: End, other: End) -> None:
        def work(first: int) -> None:
            for value in range(first, first + 500):
                one.channel.send(Number(value, bytes(value % 3000)))

        threads = [threading.Thread(target=work, args=[n * 1000]) for n in range(6)]
        for thread in threads:
            thread.start()
        await other.until(lambda: len(other.numbers) == 3000)
        for n in range(6):
            mine = [value for value in other.numbers if value // 1000 == n]
            assert mine == sorted(mine)
            assert len(mine) == 500

    joined(scenario)


def test_descriptors_come_with_their_messages():
    chance = random.Random(3)

    async def scenario(one: End, other: End) -> None:
        for value in range(300):
            if chance.random() < 0.4:
                fd = os.memfd_create("test")
                os.write(fd, str(value).encode())
                one.channel.send(File(str(value)), [fd])
                os.close(fd)
            one.channel.send(Number(value, bytes(chance.choice([0, 100_000]))))
        await other.until(lambda: len(other.numbers) == 300)
        assert len(other.files) > 50
        for name, fd in other.files:
            assert os.pread(fd, 10, 0).decode() == name
            os.close(fd)

    joined(scenario)


def test_messages_sent_before_the_start_arrive():
    async def scenario() -> None:
        one, other = (End(end) for end in channel_pair())
        for value in range(100):
            one.channel.send(Number(value, bytes(100_000)))
        one.channel.start()
        other.channel.start()
        await other.until(lambda: len(other.numbers) == 100)
        one.channel.close()
        await other.until(lambda: other.closed == 1)
        assert not other.channel.send(Number(1))

    asyncio.run(scenario())


@pytest.mark.parametrize("loop_factory", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_an_end_that_is_killed_is_noticed_behind_its_last_words(loop_factory):
    """It leaves messages for us, and messages of ours that it has not read."""

    async def scenario() -> None:
        left, right = channel_pair()
        one, other = End(left), Channel(right, {Number: lambda *_: None}, {}, lambda: None)
        one.channel.start()
        assert one.channel.send(Number(1))
        for value in range(3):
            other.send(Number(value, bytes(50_000)))
        other.close()
        await one.until(lambda: one.closed == 1)
        assert one.numbers == [0, 1, 2]

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(scenario())


def test_an_end_that_goes_is_noticed_once():
    async def scenario(one: End, other: End) -> None:
        one.channel.close()
        await other.until(lambda: other.closed == 1)
        await asyncio.sleep(0)
        assert other.closed == 1
        assert one.closed == 0
        assert other.channel.is_closed

    joined(scenario)


@pytest.mark.parametrize(
    "sent",
    [
        struct.pack("<I", 1 << 31),
        struct.pack("<I", 5) + b"hello",
        struct.pack("<I", 2) + b"\x91\x01",
        struct.pack("<I", 0),
        struct.pack("<I", 7) + msgspec.msgpack.encode(["File", "x"])[:7],
        struct.pack("<I", 8) + msgspec.msgpack.encode(["File", "x"]),
        struct.pack("<I", 9) + b"\x92\xa4File\xa2\xff\xfe",
        struct.pack("<I", 50_011) + b"\x94\xa6Number\x01\xc4\x00" + b"\x91" * 50_000,
    ],
    ids=[
        "huge",
        "no message",
        "no tag",
        "empty",
        "cut",
        "without its descriptor",
        "no text",
        "nested",
    ],
)
def test_what_is_no_message_ends_the_channel_and_nothing_else(sent: bytes):
    async def scenario() -> None:
        raw, end = channel_pair()
        other = End(end)
        other.channel.start()
        raw.sendall(sent + struct.pack("<I", 3) + b"\xc1\xc1\xc1")
        await other.until(lambda: other.closed == 1)
        assert other.files == []
        raw.close()

    asyncio.run(scenario())


def test_a_message_that_cannot_be_handled_ends_the_channel():
    """What follows is not read, and what came before is not handled twice."""

    async def scenario() -> None:
        one, other = channel_pair()
        sender = End(one)
        handled: list[int] = []
        ended = asyncio.Event()

        def handle(message: Number, _: list[int]) -> None:
            handled.append(message.value)
            if message.value == 2:
                raise IndexError("a shape without sizes")

        receiver = Channel(other, {Number: handle}, {}, ended.set)
        for value in range(5):
            sender.channel.send(Number(value))
        sender.channel.start()
        receiver.start()
        async with asyncio.timeout(20):
            await ended.wait()
        assert receiver.is_closed
        assert handled == [0, 1, 2]
        await sender.until(lambda: sender.closed == 1)

    asyncio.run(scenario())


def test_a_channel_survives_random_bytes():
    async def scenario() -> None:
        chance = random.Random(11)
        for _ in range(200):
            raw, end = channel_pair()
            other = End(end)
            other.channel.start()
            raw.sendall(chance.randbytes(chance.randrange(1, 300)))
            raw.close()
            await other.until(lambda other=other: other.closed == 1)
            assert other.numbers == []

    asyncio.run(scenario())


def test_a_peer_that_reads_nothing_is_given_up():
    async def scenario() -> None:
        raw, end = channel_pair()
        one = End(end)
        one.channel.start()
        piece = bytes(8_000_000)
        sent = 0
        while one.channel.send(Number(0, piece)):
            sent += 1
        assert 5 < sent < 15
        await one.until(lambda: one.closed == 1)
        raw.close()

    asyncio.run(scenario())


def test_no_descriptor_is_left_over():
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    test_descriptors_come_with_their_messages()
    test_what_is_no_message_ends_the_channel_and_nothing_else(struct.pack("<I", 0))
    test_a_peer_that_reads_nothing_is_given_up()
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208
