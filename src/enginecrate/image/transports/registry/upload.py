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

    error: what the user sees in the end. wait: seconds that the registry asks for.
    """

    def __init__(self, error: EnginecrateError, wait: float = 0.0) -> None:
        self.error, self.wait = error, wait
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
        self._chunked = True
        self._location = ""
        self._least = 0

    def run(self, chunks: Iterable[bytes]) -> None:
        """Send the blob; when `chunks` can be iterated again, a lost upload starts again."""
        small = self._descriptor.size <= self._connection.options.chunk_size
        if small:
            data = b"".join(checked(chunks, self._descriptor, self._what))
            chunks = (data,)
        retry, attempt = self._connection.options.retry, 0
        while True:
            try:
                self._location = self._begin()
                self._send(chunks, small=small)
                return
            except _SessionLost as lost:
                if isinstance(chunks, Iterator):
                    raise lost.error from lost
                retry.pause(attempt, RetryableError(lost.error, lost.wait))
                attempt += 1

    def _begin(self) -> str:
        answer = self._call("POST", self._start)
        if answer.status != 202:
            raise error_for(answer, self._what)
        self._least = _number(answer.headers.get("oci-chunk-min-length", ""))
        return _location(answer)

    def _send(self, chunks: Iterable[bytes], *, small: bool) -> None:
        if small:
            (data,) = chunks
            self._finish(data)
        elif self._chunked:
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
                answer = self._patch(piece[done:], start + done)
            except RetryableError as again:
                self._connection.options.retry.pause(attempt, again)
                attempt += 1
                done = self._confirmed(start, len(piece)) - start
                continue
            if answer.status not in (201, 202, 204):
                self._refused(answer)
            self._location = _location(answer, self._location)
            return

    def _patch(self, data: bytes, start: int) -> Answer:
        headers = {
            **_OCTETS,
            "Content-Length": str(len(data)),
            "Content-Range": f"{start}-{start + len(data) - 1}",
        }
        call = Call("PATCH", self._location, self._what, self._scopes, headers, data)
        return self._connection.call_once(call)

    def _refused(self, answer: Answer) -> None:
        """Some registries take no pieces: the next try sends everything in one request."""
        if answer.status == 404:
            raise self._forgotten()
        error = error_for(answer, self._what)
        if answer.status in (400, 405, 411, 415, 416, 501):
            self._chunked = False
            raise _SessionLost(error)
        raise error

    def _forgotten(self) -> _SessionLost:
        return _SessionLost(
            RegistryUnavailable(f"{self._what}: the registry forgot the upload; try again")
        )

    def _confirmed(self, start: int, length: int) -> int:
        """The number of bytes of the blob that the registry has; they end within the piece."""
        answer = self._call("GET", self._location)
        range_match = _RANGE.fullmatch(answer.headers.get("range", ""))
        # 0-0 stands for one byte, or, with older registries, for none.
        have = int(range_match[1]) + 1 if range_match else 0
        have = 0 if have == 1 else have
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
        raise error_for(answer, self._what)

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


def _number(text: str) -> int:
    return int(text[:18]) if text.isascii() and text.isdigit() else 0
