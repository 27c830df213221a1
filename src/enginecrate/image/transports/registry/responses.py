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
from enginecrate.http_client import Response, Url, UrlInvalid
from enginecrate.image.transports.registry.retries import retry_after

__all__ = ["Answer", "error_for", "pages", "read_limited", "refuse_page"]

_MOST_WORDS = 200
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]+")
_MOST_PAGES = 200
_MOST_LISTED = 32 << 20
"""Bytes of all pages of one list."""
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
    if answer.status == 413:
        return ImageInvalid(
            f"{what}: {reason}; what is sent is too large for it, or for a proxy before it: ask "
            "its operator to raise the limit (nginx: client_max_body_size)"
        )
    if answer.status in (400, 415, 416, 422):
        return ImageInvalid(f"{what}: {reason}; the image or the request does not suit it")
    if 300 <= answer.status < 400:
        return RegistryUnavailable(f"{what}: {reason}, which leads nowhere; ask its operator")
    wait = retry_after(answer.headers)
    later = f"in {_duration(wait)}, as it asks" if wait >= 1 else "later"
    return RegistryUnavailable(f"{what}: {reason}; try again {later}, or ask its operator")


def _duration(seconds: float) -> str:
    for unit, length in (("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} seconds"


def refuse_page(answer: Answer, what: str) -> None:
    """Refuse a page for browsers that pretends to be a success: of a login, or of a proxy.

    Raises:
        RegistryUnavailable: it is one.
    """
    kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
    if 200 <= answer.status < 300 and kind in ("text/html", "application/xhtml+xml"):
        raise RegistryUnavailable(
            f"{what}: {answer.url.host} answers with a web page, and not as a registry does; check "
            "the address, and whether a proxy or a login page stands before it"
        )


def pages(get: Callable[[str], Answer], path: str) -> Iterator[Answer]:
    """Every page, from `path` on. Pages on other hosts are not followed.

    Raises:
        ImageInvalid: there are too many, or one leads elsewhere.
    """
    seen: set[str] = set()
    size = 0
    while path not in seen and len(seen) < _MOST_PAGES:
        seen.add(path)
        answer = get(path)
        size += len(answer.body)
        if size > _MOST_LISTED:
            raise ImageInvalid(f"{answer.url.host} sends a list of more than {_MOST_LISTED} bytes")
        yield answer
        following = _NEXT.search(answer.headers.get("link", ""))
        if answer.status != 200 or following is None:
            return
        try:
            url = answer.url.join(following[1])
        except UrlInvalid as exc:
            raise ImageInvalid(
                f"{answer.url.host} continues a list at something that is no URL"
            ) from exc
        if (url.host, url.port) != (answer.url.host, answer.url.port):
            raise ImageInvalid(f"{answer.url.host} continues a list on another host")
        path = str(url)
    raise ImageInvalid(f"a list of more than {_MOST_PAGES} pages, or one that begins again")
