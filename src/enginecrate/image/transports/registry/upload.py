"""Uploads of blobs to a registry: in one request when small, in pieces when large.

A piece that breaks goes on at the byte that the registry confirms; where it has forgotten the
upload, the blob is sent again from its beginning.
Source: OCI Distribution Specification 1.1, "Pushing blobs".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator

from enginecrate.errors import BlobCorrupt, EnginecrateError, ImageError, RegistryUnavailable
from enginecrate.http_client import Url, UrlInvalid
from enginecrate.image.formats.oci import Descriptor
from enginecrate.image.transports.base import checked
from enginecrate.image.transports.registry.client import Call, Connection
from enginecrate.image.transports.registry.responses import Answer, error_for
from enginecrate.image.transports.registry.retries import RetryableError

__all__ = ["Upload"]

_LARGEST_CHUNK = 128 << 20
_OCTETS = {"Content-Type": "application/octet-stream"}
_RANGE = re.compile(r"(?:bytes=)?0-(\d{1,18})")


class _SessionLost(Exception):
    """The registry does not go on with this upload.

    error: what the user sees in the end. wait: seconds that the registry asks for. learned: the
    next try is another one, so that there is nothing to wait for.
    """

    def __init__(
        self, error: EnginecrateError, wait: float = 0.0, *, learned: bool = False
    ) -> None:
        self.error, self.wait, self.learned = error, wait, learned
        super().__init__(str(error))


class Upload:
    """One blob on its way into one repository.

    start: the path where uploads begin, `/v2/isv/app/blobs/uploads/`.
    exists: tells if the registry has the blob (the answer to a finished upload may get lost).
    """

    def __init__(
        self,
        connection: Connection,
        start: str,
        scopes: tuple[str, ...],
        descriptor: Descriptor,
        what: str,
        exists: Callable[[], bool],
    ) -> None:
        self._connection, self._start, self._scopes = connection, start, scopes
        self._descriptor, self._what, self._exists = descriptor, what, exists
        self._habits = connection.habits
        self._is_resumed = False
        self._location = ""
        self._least = 0

    def run(self, chunks: Iterable[bytes]) -> None:
        """Send the blob; when `chunks` can be iterated again, a lost upload starts again."""
        if self._descriptor.size <= self._connection.options.chunk_size:
            chunks = (b"".join(checked(chunks, self._descriptor, self._what)),)
        retry, attempt = self._connection.options.retry, 0
        while True:
            try:
                self._location, self._is_resumed = self._begin(), False
                self._send(chunks)
                return
            except _SessionLost as lost:
                if isinstance(chunks, Iterator) or attempt + 1 >= retry.attempts:
                    raise lost.error from lost
                if not lost.learned:
                    retry.pause(attempt, RetryableError(lost.error, lost.wait))
                attempt += 1

    def _begin(self) -> str:
        answer = self._call("POST", self._start)
        if answer.status != 202:
            raise error_for(answer, self._what)
        self._least = _number(answer.headers.get("oci-chunk-min-length", ""))
        return _location(answer)

    def _send(self, chunks: Iterable[bytes]) -> None:
        if isinstance(chunks, tuple) and self._descriptor.size <= self._habits.largest_whole:
            self._finish(chunks[0])
        elif self._habits.takes_pieces:
            try:
                self._send_in_pieces(chunks)
            except BlobCorrupt:
                self._cancel()
                raise
            self._finish(b"")
        else:
            self._finish(lambda: checked(chunks, self._descriptor, self._what))

    def _send_in_pieces(self, chunks: Iterable[bytes]) -> None:
        size = max(self._connection.options.chunk_size, min(self._least, _LARGEST_CHUNK))
        start = 0
        for piece in _of_size(checked(chunks, self._descriptor, self._what), size):
            self._send_piece(piece, start)
            start += len(piece)

    def _send_piece(self, piece: bytes, start: int) -> None:
        """Send one piece, which may take several tries; each goes on where the last one broke."""
        done, attempt = 0, 0
        while done < len(piece):
            try:
                with self._habits.learning():
                    part = piece[done : done + self._habits.largest_piece]
                    answer = self._patch(part, start + done)
                    if answer.status not in (201, 202, 204):
                        self._refused(answer, len(part))
                        continue
            except RetryableError as again:
                self._connection.options.retry.pause(attempt, again)
                attempt += 1
                done = self._confirmed(start, len(piece)) - start
                self._is_resumed = True
                continue
            done += len(part)
            self._location = _location(answer, self._location)
            self._habits.taken = max(self._habits.taken, len(part))
            if _count(answer) not in (0, start + done):
                self._habits.counts = False

    def _patch(self, data: bytes, start: int) -> Answer:
        headers = {
            **_OCTETS,
            "Content-Length": str(len(data)),
            "Content-Range": f"{start}-{start + len(data) - 1}",
        }
        call = Call("PATCH", self._location, self._what, self._scopes, headers, data)
        return self._connection.call_once(call)

    def _refused(self, answer: Answer, size: int) -> None:
        """Smaller pieces may go on where this one was refused; else the upload begins again.

        Some registries take small pieces alone, or none: they get everything in one request.
        """
        if answer.status == 404:
            raise self._forgotten()
        error, habits = error_for(answer, self._what), self._habits
        if answer.status in (400, 416) and (self._is_resumed or size <= habits.taken):
            # Not the size is wrong, but the place: it has another number of bytes than it says.
            habits.counts = habits.counts and not self._is_resumed
            raise _SessionLost(error)
        if answer.status in (400, 413, 416) and habits.refuse_piece(
            size, answer.status, self._least
        ):
            return
        if answer.status in (400, 405, 411, 413, 415, 416, 501):
            habits.takes_pieces = False
            raise _SessionLost(error, learned=True)
        raise error

    def _forgotten(self) -> _SessionLost:
        return _SessionLost(
            RegistryUnavailable(f"{self._what}: the registry forgot the upload; try again")
        )

    def _confirmed(self, start: int, length: int) -> int:
        """The number of bytes of the blob that the registry has; they end within the piece."""
        if not self._habits.counts:
            raise self._forgotten()
        answer = self._call("GET", self._location)
        have = _count(answer)
        if answer.status != 204 or not start <= have <= start + length:
            raise self._forgotten()
        self._location = _location(answer, self._location)
        return have

    def _finish(self, content: bytes | Callable[[], Iterable[bytes]]) -> None:
        size = len(content) if isinstance(content, bytes) else self._descriptor.size
        url = Url(self._location).with_query([("digest", self._descriptor.digest)])
        headers = {**_OCTETS, "Content-Length": str(size)}
        call = Call("PUT", str(url), self._what, self._scopes, headers, content)
        try:
            answer = self._connection.call_once(call)
        except RetryableError as again:
            if self._exists():
                return
            raise _SessionLost(again.error, again.wait) from again
        if answer.status in (201, 204):
            return
        if answer.status == 404:
            raise self._forgotten()
        error = error_for(answer, self._what)
        if answer.status in (400, 416) and self._is_resumed:
            self._habits.counts = False
            raise _SessionLost(error)
        if answer.status in (413, 416) and self._habits.refuse_whole(size):
            raise _SessionLost(error, learned=True)
        raise error

    def _cancel(self) -> None:
        """Tell the registry to forget the upload; whether it does makes no difference."""
        try:
            call = Call("DELETE", self._location, self._what, self._scopes)
            self._connection.call_once(call)
        except (RetryableError, ImageError):
            return

    def _call(self, method: str, path: str, headers: dict[str, str] | None = None) -> Answer:
        call = Call(method, path, self._what, self._scopes, headers or {})
        return self._connection.call(call)


def _of_size(chunks: Iterable[bytes], size: int) -> Iterator[bytes]:
    """The same bytes in pieces of `size`; the last one may be shorter."""
    waiting = bytearray()
    for chunk in chunks:
        waiting += chunk
        while len(waiting) >= size:
            yield bytes(memoryview(waiting)[:size])
            del waiting[:size]
    if waiting:
        yield bytes(waiting)


def _location(answer: Answer, known: str = "") -> str:
    """The URL at which the upload goes on. Raises `RegistryUnavailable`: it does not say."""
    target = answer.headers.get("location", "")
    if not target and known:
        return known
    try:
        if target:
            return str(answer.url.join(target))
    except UrlInvalid:
        pass
    raise RegistryUnavailable(
        f"{answer.url.host} does not say where an upload goes on; ask its operator"
    )


def _count(answer: Answer) -> int:
    """The number of bytes that the registry has, as it says; 0: none, or it does not say."""
    match = _RANGE.fullmatch(answer.headers.get("range", ""))
    # 0-0 stands for one byte, or, with older registries, for none.
    have = int(match[1]) + 1 if match else 0
    return 0 if have == 1 else have


def _number(text: str) -> int:
    return int(text[:18]) if text.isascii() and text.isdigit() else 0
