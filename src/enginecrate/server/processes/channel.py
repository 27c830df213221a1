"""A channel: messages, and descriptors with them, between two processes of one server.

A message is a msgspec Struct in MessagePack behind its length (4 bytes, little-endian), on a
Unix stream socket. Many messages travel in one read and one write. Descriptors travel with the
first byte of their message (unix(7), SCM_RIGHTS), so they are there when it is complete; how many
a message brings is part of its type.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import struct
import threading
from array import array
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

__all__ = ["MAX_MESSAGE_BYTES", "Channel", "Handlers", "channel_pair"]

MAX_MESSAGE_BYTES = 1 << 24
_MAX_UNSENT_BYTES = 1 << 26
"""A peer that reads nothing is given up after this."""

_READ_BYTES = 1 << 18
_READS = 64
"""More than a socket holds, so that the end is seen, whatever lies before it."""
_SOCKET_BYTES = 1 << 20
_MAX_DESCRIPTORS = 64
_HEAD = struct.Struct("<I")

_log = logging.getLogger(__name__)

Handlers = Mapping[type[msgspec.Struct], Callable[[Any, list[int]], None]]
"""The function for each type of message; it is given the descriptors, too, and owns them."""


def channel_pair() -> tuple[socket.socket, socket.socket]:
    """Two connected sockets for a channel, with room for bursts."""
    pair = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    for end in pair:
        for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            end.setsockopt(socket.SOL_SOCKET, option, _SOCKET_BYTES)
    return pair


class Channel:
    """One end. `send` may be called from any thread; messages arrive in the loop's thread."""

    def __init__(
        self,
        end: socket.socket,
        handlers: Handlers,
        descriptors: Mapping[type[msgspec.Struct], int],
        on_closed: Callable[[], None],
    ) -> None:
        """Nothing is read before `start`.

        Args:
            end: belongs to the channel from now on.
            handlers: for every message that may arrive.
            descriptors: how many each type brings; none when it is not named.
            on_closed: called once, in the loop's thread, when the other end is gone or has sent
                what no end of ours sends.
        """
        end.setblocking(False)
        self._socket = end
        self._handlers = handlers
        self._descriptors = descriptors
        self._on_closed = on_closed
        self._decoder = msgspec.msgpack.Decoder(_union(handlers))
        self._encoder = msgspec.msgpack.Encoder()
        self._buffer = bytearray(_READ_BYTES)
        self._unread = bytearray()
        self._received: deque[int] = deque()
        self._unsent: deque[tuple[memoryview, Sequence[int]]] = deque()
        self._unsent_bytes = 0
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._writing = False
        self._closed = False

    @property
    def is_closed(self) -> bool:
        return self._closed

    def start(self) -> None:
        """Read from now on, in the running loop."""
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._socket, self._read)
        with self._lock:
            if self._unsent:
                self._watch_writable()

    def send(self, message: msgspec.Struct, descriptors: Sequence[int] = ()) -> bool:
        """Send a message; at once, or when the socket has room again.

        Args:
            message: of a type that the other end has a handler for.
            descriptors: duplicated on their way; the caller still owns them.

        Returns:
            `False` when the channel is closed: the message is lost.
        """
        body = self._encoder.encode(message)
        if len(body) > MAX_MESSAGE_BYTES:
            raise ValueError(f"{type(message).__name__} has {len(body)} bytes")
        frame = memoryview(_HEAD.pack(len(body)) + body)
        with self._lock:
            if self._closed:
                return False
            if self._unsent:
                self._queue(frame, descriptors)
            else:
                self._try(frame, descriptors)
            if self._unsent_bytes > _MAX_UNSENT_BYTES:
                self._give_up("the other end reads nothing")
            return not self._closed

    def close(self) -> None:
        """Close this end. `on_closed` is not called."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        self._release()

    # -- writing --------------------------------------------------------------------------------

    def _try(self, frame: memoryview, descriptors: Sequence[int]) -> bool:
        """Send a frame; what the socket does not take waits. Called with the lock held."""
        sent = 0
        try:
            if descriptors:
                rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", descriptors))
                sent = self._socket.sendmsg([frame], [rights])
                descriptors = ()
            else:
                sent = self._socket.send(frame)
        except BlockingIOError:
            pass
        except OSError:  # the reader finds out, and says so
            return True
        if sent == len(frame):
            return True
        self._queue(frame[sent:], descriptors)
        return False

    def _queue(self, frame: memoryview, descriptors: Sequence[int]) -> None:
        self._unsent.append((frame, [os.dup(each) for each in descriptors]))
        self._unsent_bytes += len(frame)
        if self._loop is not None:
            self._watch_writable()

    def _watch_writable(self) -> None:
        if not self._writing and self._loop is not None:
            self._writing = True
            with contextlib.suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(self._add_writer)

    def _add_writer(self) -> None:
        if self._loop is not None and not self._closed:
            self._loop.add_writer(self._socket, self._write)

    def _write(self) -> None:
        with self._lock:
            while self._unsent and not self._closed:
                frame, descriptors = self._unsent.popleft()
                self._unsent_bytes -= len(frame)
                before = len(self._unsent)
                done = self._try(frame, descriptors)
                for each in descriptors:
                    os.close(each)
                if not done:
                    if len(self._unsent) > before:  # the rest comes first
                        self._unsent.rotate(1)
                    return
            self._writing = False
            if self._loop is not None and not self._closed:
                self._loop.remove_writer(self._socket)

    # -- reading --------------------------------------------------------------------------------

    def _read(self) -> None:
        """Read all that is there, and the end behind it.

        libuv says only once that the other end was killed, and looks no more at the socket then.
        """
        for _ in range(_READS):
            if self._closed or not self._read_once():
                return

    def _read_once(self) -> bool:
        """Read and handle what one call gives; `False`: there is no more."""
        try:
            size, rights, flags, _ = self._socket.recvmsg_into(
                [self._buffer], socket.CMSG_SPACE(_MAX_DESCRIPTORS * 4)
            )
        except (BlockingIOError, InterruptedError):
            return False
        except ConnectionError:  # it was killed, and had not read everything
            size, rights, flags = 0, [], 0
        except OSError as exc:
            self._end(f"it cannot be read: {exc}")
            return False
        for level, kind, data in rights:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                found = array("i")
                found.frombytes(data[: len(data) // 4 * 4])
                self._received.extend(found)
        if flags & socket.MSG_CTRUNC:
            self._end("descriptors were lost")
        elif not size:
            self._end("")
        else:
            self._take(memoryview(self._buffer)[:size])
        return not self._closed

    def _take(self, data: memoryview) -> None:
        """Handle every message that is complete."""
        if self._unread:
            self._unread += data
            data = memoryview(self._unread)
        position, end = 0, len(data)
        try:
            while end - position >= _HEAD.size and not self._closed:
                (size,) = _HEAD.unpack_from(data, position)
                if size > MAX_MESSAGE_BYTES:
                    raise msgspec.DecodeError(f"a message of {size} bytes")
                start = position + _HEAD.size
                if end - start < size:
                    break
                position = start + size
                self._handle(self._decoder.decode(data[start:position]))
        except msgspec.MsgspecError as exc:
            self._end(f"what it sends is no message of ours: {exc}")
            return
        except Exception as exc:  # text that is no UTF-8, nesting without end, a value too large
            _log.debug("a message could not be handled", exc_info=True)
            self._end(f"what it sends cannot be handled: {type(exc).__name__}: {exc}")
            return
        rest = bytes(data[position:])
        data.release()
        self._unread = bytearray(rest)

    def _handle(self, message: msgspec.Struct) -> None:
        wanted = self._descriptors.get(type(message), 0)
        if len(self._received) < wanted:
            raise msgspec.ValidationError(f"{type(message).__name__} without its descriptors")
        taken = [self._received.popleft() for _ in range(wanted)]
        self._handlers[type(message)](message, taken)

    def _end(self, reason: str) -> None:
        """The other end is gone, or cannot be trusted."""
        with self._lock:
            if self._closed:
                return
            self._give_up(reason)

    def _give_up(self, reason: str) -> None:
        """Called with the lock held."""
        if reason:
            _log.error("a channel between processes of the server ends: %s", reason)
        self._closed = True
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._closed_by_peer)

    def _closed_by_peer(self) -> None:
        self._release()
        self._on_closed()

    def _release(self) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.remove_reader(self._socket)
            self._loop.remove_writer(self._socket)
        self._socket.close()
        for each in [*self._received, *(fd for _, fds in self._unsent for fd in fds)]:
            os.close(each)
        self._received.clear()
        self._unsent.clear()


def _union(handlers: Handlers) -> Any:
    kinds = tuple(handlers)
    union: Any = kinds[0]
    for kind in kinds[1:]:
        union = union | kind
    return union
