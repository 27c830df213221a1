"""Responses of registries: read with limits, page by page; refusals are put into words.

Source: OCI Distribution Specification 1.1, "Listing Tags"; RFC 8288 (the header `Link`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import msgspec

from enginecrate.errors import (
    ImageError,
    ImageInvalid,
    ImageNotFound,
    RegistryDenied,
    RegistryUnavailable,
)
from enginecrate.http_client import Response, Url

__all__ = ["Answer", "error_for", "pages", "read_limited"]

_MOST_WORDS = 200
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]+")
_MOST_PAGES = 200
_NEXT = re.compile(r'<([^<>]+)>[^,]*;\s*rel="?next"?', re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer. Header names are in any case."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    url: Url


class _Fault(msgspec.Struct):
    code: str = ""
    message: str = ""


class _Faults(msgspec.Struct):
    errors: list[_Fault] = []


def read_limited(response: Response, limit: int, host: str) -> bytes:
    """The body of an answer.

    Raises:
        ImageInvalid: it is larger than `limit` bytes, or compressed, which was not asked for: a
            few bytes could become any number before they are counted.
    """
    coding = response.headers.get("content-encoding", "").strip().lower()
    if coding not in ("", "identity"):
        raise ImageInvalid(
            f"{host} sends an answer compressed with {coding[:40]!r}, which was not asked for; ask "
            "its operator, or the operator of the proxy before it"
        )
    pieces, size = [], 0
    for piece in response.pieces(1 << 16):
        size += len(piece)
        if size > limit:
            raise ImageInvalid(f"{host} sends more than {limit} bytes where that much is the limit")
        pieces.append(piece)
    return b"".join(pieces)


def _words_of(body: bytes) -> str:
    """The words of a registry about an error, made fit for a terminal; may be empty."""
    try:
        faults = msgspec.json.decode(body, type=_Faults).errors
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""
    text = "; ".join(" ".join(filter(None, (fault.code, fault.message))) for fault in faults)
    return _CONTROL.sub(" ", text)[:_MOST_WORDS]


def error_for(answer: Answer, what: str) -> ImageError:
    """The error for an answer that is not the expected one.

    Args:
        answer: of the registry.
        what: the failed request, with its registry: `cannot push sha256:... to HOST/isv/app`.
    """
    words = _words_of(answer.body)
    reason = f"the registry answers {answer.status}" + (f" ({words})" if words else "")
    if answer.status == 401:
        return RegistryDenied(f"{what}: {reason}; log in with `podman login` or `docker login`")
    if answer.status in (403, 405):
        return RegistryDenied(f"{what}: {reason}; ask its operator for the right to do so")
    if answer.status == 404:
        return ImageNotFound(f"{what}: {reason}; check name, tag and digest")
    if answer.status in (400, 413, 415, 416, 422):
        return ImageInvalid(f"{what}: {reason}; the image or the request does not suit it")
    return RegistryUnavailable(f"{what}: {reason}; try again later, or ask its operator")


def pages(get: Callable[[str], Answer], path: str) -> Iterator[Answer]:
    """Every page, from `path` on. Pages on other hosts are not followed.

    Raises:
        ImageInvalid: there are too many, or one leads elsewhere.
    """
    seen: set[str] = set()
    while path not in seen and len(seen) < _MOST_PAGES:
        seen.add(path)
        answer = get(path)
        yield answer
        following = _NEXT.search(answer.headers.get("link", ""))
        if answer.status != 200 or following is None:
            return
        url = answer.url.join(following[1])
        if (url.host, url.port) != (answer.url.host, answer.url.port):
            raise ImageInvalid(f"{answer.url.host} continues a list on another host")
        path = str(url)
    raise ImageInvalid(f"a list of more than {_MOST_PAGES} pages, or one that begins again")
