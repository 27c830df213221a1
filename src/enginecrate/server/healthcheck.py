"""`enginecrate --healthcheck`: asks the server on this machine, for images without a shell.

Imports next to nothing, since a container runtime calls it every few seconds.
"""

from __future__ import annotations

import contextlib
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from enginecrate.errors import UsageError
from enginecrate.settings import load_settings

__all__ = ["check_health"]

_TIMEOUT_SECONDS = 3.0
_SHOWN_BYTES = 4096
_FLAGS = ("host", "http_port", "settings")


def check_health(
    environment: Mapping[str, str] | None = None, server: Path = Path("/proc/1/cmdline")
) -> int:
    """Ask `/v2/health/ready`; say on standard error why it is not.

    Args:
        environment: default: the process's own. Host and port come from where the server has them:
            the settings file, the environment, and the flags of the container's first process.
        server: that process's command line.

    Returns:
        0 when the server is ready, else 1.
    """
    flags = _flags(server)
    file = flags.pop("settings", None)
    try:
        settings = load_settings(
            file=Path(file) if file else None, environment=environment, flags=flags
        )
    except UsageError as exc:
        return _unhealthy(str(exc))
    port = settings.http_port
    if port == 0:
        return _unhealthy("http_port is 0, any free port: give the server one that can be known")
    try:
        host, answer = _ask_first(settings.local_hosts, port)
        status = int(answer.split(b" ", 2)[1])
    except (OSError, ValueError, IndexError) as exc:
        return _unhealthy(f"no answer from {settings.local_hosts[-1]} port {port}: {exc}")
    if status == 200:
        return 0
    body = answer.partition(b"\r\n\r\n")[2].decode("utf-8", "replace")
    return _unhealthy(f"{host} port {port} is not ready ({status}): {body}")


def _ask_first(hosts: Sequence[str], port: int) -> tuple[str, bytes]:
    """The first host that takes a connection, and its answer."""
    for host in hosts[:-1]:
        with contextlib.suppress(OSError):
            return host, _ask(host, port)
    return hosts[-1], _ask(hosts[-1], port)


def _ask(host: str, port: int) -> bytes:
    """The beginning of the answer, with its head."""
    with contextlib.closing(socket.create_connection((host, port), _TIMEOUT_SECONDS)) as connection:
        name = f"[{host}]" if ":" in host else host
        connection.sendall(
            f"GET /v2/health/ready HTTP/1.1\r\nhost: {name}:{port}\r\n"
            "connection: close\r\n\r\n".encode()
        )
        answer = b""
        while len(answer) < _SHOWN_BYTES and (piece := connection.recv(_SHOWN_BYTES)):
            answer += piece
        return answer


def _flags(server: Path) -> dict[str, str]:
    """The flags of the server's command line; none when process 1 is another program."""
    try:
        words = server.read_bytes().decode("utf-8", "replace").split("\0")
    except OSError:
        return {}
    if not any(word.rpartition("/")[2] == "enginecrate" for word in words):
        return {}
    flags = {name: _value(words, f"--{name.replace('_', '-')}") for name in _FLAGS}
    return {name: value for name, value in flags.items() if value is not None}


def _value(words: Sequence[str], flag: str) -> str | None:
    """The last one counts, as for the server itself."""
    value = None
    for number, word in enumerate(words):
        if word == flag and number + 1 < len(words):
            value = words[number + 1]
        elif word.startswith(f"{flag}="):
            value = word.partition("=")[2]
    return value


def _unhealthy(reason: str) -> int:
    sys.stderr.write(f"{reason}\n")
    return 1
