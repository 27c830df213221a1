"""Single requests beside the load: metadata, statistics, and answers to compare with."""

from __future__ import annotations

import contextlib
import http.client
import ssl
from collections.abc import Mapping
from typing import Any

import msgspec

from enginecrate.bench.wire import Address, Payload
from enginecrate.errors import ServerUnreachable

__all__ = ["ask", "ask_json", "post"]

_SECONDS = 30.0
_SHOWN = 300


def ask_json(address: Address, *, seconds: float = _SECONDS) -> Any:
    """The JSON answer to a GET.

    Raises:
        ServerUnreachable: no answer, another status than 200, or no JSON.
    """
    status, body = ask(address, seconds=seconds)
    where = f"http://{address.authority}{address.path}"
    if status != http.client.OK:
        raise ServerUnreachable(f"{where} answers {status}: {_words(body)}")
    try:
        return msgspec.json.decode(body)
    except msgspec.DecodeError as exc:
        raise ServerUnreachable(f"{where} answers no JSON; is it an inference server?") from exc


def ask(address: Address, *, seconds: float = _SECONDS) -> tuple[int, bytes]:
    """Status and body of the answer to a GET. Raises `ServerUnreachable`: there is none."""
    return _exchange(address, "GET", None, {}, seconds)


def post(address: Address, payload: Payload) -> bytes:
    """The answer to a payload.

    Raises:
        ServerUnreachable: no answer, or another status than 200: the server's own words.
    """
    head = {"content-type": payload.media_type, "accept": "application/json"}
    head |= dict(payload.fields)
    status, body = _exchange(address, "POST", payload.body, head, _SECONDS)
    if status != http.client.OK:
        raise ServerUnreachable(
            f"http://{address.authority}{address.path} answers {status} to the payload "
            f"{payload.name}: {_words(body)}"
        )
    return body


def _exchange(
    address: Address, method: str, body: bytes | None, head: Mapping[str, str], seconds: float
) -> tuple[int, bytes]:
    connection: http.client.HTTPConnection
    if address.secure:
        context = ssl.create_default_context()
        connection = http.client.HTTPSConnection(
            address.host, address.port, timeout=seconds, context=context
        )
    else:
        connection = http.client.HTTPConnection(address.host, address.port, timeout=seconds)
    with contextlib.closing(connection):
        try:
            connection.request(method, address.path, body, dict(head))
            answer = connection.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException) as exc:
            raise ServerUnreachable(
                f"cannot reach http://{address.authority}: {exc}; start the server with: "
                "enginecrate serve"
            ) from exc


def _words(body: bytes) -> str:
    return body[:_SHOWN].decode(errors="replace").strip() or "nothing was said"
