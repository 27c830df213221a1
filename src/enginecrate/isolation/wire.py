"""The messages between a process and its isolated child: a fixed head, then bytes."""

from __future__ import annotations

import socket
import struct
from collections.abc import Sequence
from typing import NamedTuple

__all__ = [
    "FAILED",
    "OK",
    "OUT_OF_MEMORY",
    "Answer",
    "Request",
    "receive_answer",
    "receive_request",
    "send",
]

OK, OUT_OF_MEMORY, FAILED = range(3)

_REQUEST = struct.Struct("<IQQQ")
_ANSWER = struct.Struct("<IQ")


class Request(NamedTuple):
    """A call.

    function: `module:function`, which takes bytes and gives bytes.
    data: its argument, in parts.
    cpu_seconds: processor time that it may take. memory_bytes: address space that it may add.
    """

    function: bytes
    data: Sequence[bytes | memoryview]
    cpu_seconds: int
    memory_bytes: int


class Answer(NamedTuple):
    """status: `OK`, `OUT_OF_MEMORY` or `FAILED`. data: the result, or the traceback."""

    status: int
    data: bytes


def send(channel: socket.socket, message: Request | Answer) -> None:
    """Raises `OSError` when the other side is gone."""
    if isinstance(message, Request):
        sizes = len(message.function), sum(map(len, message.data))
        channel.sendall(_REQUEST.pack(*sizes, message.cpu_seconds, message.memory_bytes))
        parts: Sequence[bytes | memoryview] = (message.function, *message.data)
    else:
        channel.sendall(_ANSWER.pack(message.status, len(message.data)))
        parts = (message.data,)
    for part in parts:
        channel.sendall(part)


def receive_request(channel: socket.socket) -> Request:
    """Raises `EOFError` when the other side is gone."""
    named, size, cpu, memory = _REQUEST.unpack(_exactly(channel, _REQUEST.size))
    function = bytes(_exactly(channel, named))
    return Request(function, (bytes(_exactly(channel, size)),), cpu, memory)


def receive_answer(channel: socket.socket) -> Answer:
    """Raises `EOFError` when the other side is gone, `TimeoutError` as the channel is set."""
    status, size = _ANSWER.unpack(_exactly(channel, _ANSWER.size))
    return Answer(status, bytes(_exactly(channel, size)))


def _exactly(channel: socket.socket, size: int) -> bytearray:
    data = bytearray(size)
    view, filled = memoryview(data), 0
    while filled < size:
        count = channel.recv_into(view[filled:])
        if not count:
            raise EOFError
        filled += count
    return data
