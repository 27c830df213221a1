"""The machine's own package tools, apt and pip: how they are run, and why they refuse."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from enginecrate.errors import SourceUnavailable

__all__ = ["complaints", "run_tool"]

_CREDENTIALS = re.compile(r"(?<=://)[^/\s@]+@")
_PIP_KEPT = (
    "CACHE_DIR", "CERT", "CLIENT_CERT", "CONFIG_FILE", "DEFAULT_TIMEOUT", "EXTRA_INDEX_URL",
    "FIND_LINKS", "INDEX_URL", "KEYRING_PROVIDER", "NO_INDEX", "PROXY", "RETRIES", "TIMEOUT",
    "TRUSTED_HOST",
)  # fmt: skip
"""Variables of pip that say where packages come from. Others would change what is chosen."""


def run_tool(
    arguments: Sequence[str], *, folder: Path, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a tool to its end, without a terminal and in English.

    Args:
        arguments: the program and its arguments.
        folder: working folder; temporary files go there, too.
        environment: variables beside the machine's own.

    Raises:
        SourceUnavailable: the program is not installed.
    """
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PIP_", "ENGINECRATE_")) or name.removeprefix("PIP_") in _PIP_KEPT
    }
    fixed = {"LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive", "TMPDIR": str(folder)}
    try:
        return subprocess.run(  # noqa: S603 -- a list of arguments, no shell
            arguments,
            cwd=folder,
            env={**kept, **fixed, **(environment or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
    except FileNotFoundError as exc:
        raise SourceUnavailable(
            f"{arguments[0]} is not installed on this machine; install it, or take the packages "
            "from stored inputs: --inputs"
        ) from exc


def complaints(done: subprocess.CompletedProcess[str], *, most: int = 4) -> str:
    """The complaints of a tool that failed, on one line and without credentials."""
    lines = [line.strip() for line in (done.stdout + "\n" + done.stderr).splitlines()]
    marked = [
        re.sub(r"^(E|Err:\d+|ERROR|Error):?\s+", "", line)
        for line in lines
        if re.match(r"(E|Err|ERROR|Error)\b", line)
    ]
    chosen = list(dict.fromkeys(marked or [line for line in lines if line][-most:]))[:most]
    text = "; ".join(chosen) or f"it ended with code {done.returncode}"
    return _CREDENTIALS.sub("", text)[:2000]
