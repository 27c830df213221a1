"""`enginecrate --healthcheck`: is the server on this machine ready? For images without a shell.

Imports next to nothing, since a container runtime calls it every few seconds.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import sys
from collections.abc import Mapping

__all__ = ["check_health"]

TIMEOUT_SECONDS = 3.0


def check_health(environment: Mapping[str, str] | None = None) -> int:
    """Ask `/v2/health/ready`; say on standard error why it is not.

    Args:
        environment: default: the process's own. `ENGINECRATE_HOST` and `ENGINECRATE_HTTP_PORT` say
            where the server is, as they do to the server itself.

    Returns:
        0 when the server is ready, else 1.
    """
    environment = os.environ if environment is None else environment
    host = environment.get("ENGINECRATE_HOST") or "127.0.0.1"
    if host in ("0.0.0.0", "::"):  # noqa: S104 (compared, not bound)
        host = "127.0.0.1" if host == "0.0.0.0" else "::1"  # noqa: S104
    port = environment.get("ENGINECRATE_HTTP_PORT") or "8000"
    try:
        connection = http.client.HTTPConnection(host, int(port), timeout=TIMEOUT_SECONDS)
        with contextlib.closing(connection):
            connection.request("GET", "/v2/health/ready")
            answer = connection.getresponse()
            body = answer.read(4096).decode("utf-8", "replace")
    except (OSError, ValueError, http.client.HTTPException) as exc:
        return _unhealthy(f"no answer from {host} port {port}: {exc}")
    if answer.status == http.client.OK:
        return 0
    return _unhealthy(f"{host} port {port} is not ready ({answer.status}): {body}")


def _unhealthy(reason: str) -> int:
    sys.stderr.write(f"{reason}\n")
    return 1
