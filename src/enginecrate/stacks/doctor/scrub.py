"""Removes secrets and names of people from texts that leave the machine."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

__all__ = ["Scrubber", "allowed_environment"]

_REMOVED = "<removed>"

_ALLOWED = {
    "CUDA_DEVICE_ORDER",
    "CUDA_HOME",
    "CUDA_MODULE_LOADING",
    "CUDA_MPS_PIPE_DIRECTORY",
    "CUDA_VERSION",
    "CUDA_VISIBLE_DEVICES",
    "LANG",
    "LC_ALL",
    "LD_LIBRARY_PATH",
    "NVIDIA_DRIVER_CAPABILITIES",
    "NVIDIA_REQUIRE_CUDA",
    "NVIDIA_VISIBLE_DEVICES",
    "OMP_NUM_THREADS",
    "ORT_DISABLE_TELEMETRY",
    "PATH",
    "PYTHONHASHSEED",
    "PYTHONPATH",
    "TZ",
    "VIRTUAL_ENV",
    "container",
}
"""Environment variables that explain how engines run. Of ours (`ENGINECRATE_...`) all are taken."""

_NAME = (
    r"(?:pass(?:word|wd|phrase)?|secret|token|api[_-]?keys?|access[_-]?key|private[_-]?key|"
    r"credential|authorization|cookie|session[_-]?id|signature)[\w.-]{0,64}"
)
"""Names of secrets, from the telling word on. Patterns here never look far ahead twice."""

_VALUE = (
    r"""(?:"(?:[^"\\\n]|\\.){0,4000}"|'[^'\n]*'|\[[^\[\]]*\]|[^\s"',;&{}\[\]][^\n"',;&{}\[\]]*)"""
)
_SCHEME = r"(\b[a-z][a-z0-9+.-]{1,20}://"

_Replacement = str | Callable[[re.Match[str]], str]
_PATTERNS: tuple[tuple[re.Pattern[str], _Replacement], ...] = (
    # A PEM block, also one whose end was cut off.
    (
        re.compile(r"-----BEGIN [A-Z ]+-----.*?(?:-----END [A-Z ]+-----|\Z)", re.DOTALL),
        _REMOVED,
    ),
    # scheme://user:password@host
    (re.compile(rf"{_SCHEME})[^/\s\"'@]+@", re.IGNORECASE), rf"\1{_REMOVED}@"),
    # ?token=...&sig=...: what follows a question mark in an address is private
    (re.compile(rf"{_SCHEME}[^\s\"'?]{{1,1000}})\?[^\s\"']+", re.IGNORECASE), rf"\1?{_REMOVED}"),
    (re.compile(r"\b(bearer|basic)\s+[\w+/=.~-]{8,}", re.IGNORECASE), rf"\1 {_REMOVED}"),
    # name = "value", name: value, "name": "value", NAME=value
    (re.compile(rf"({_NAME}[\"']?\s*[:=]\s*){_VALUE}", re.IGNORECASE), rf'\1"{_REMOVED}"'),
    # Tokens by their form: JSON Web Tokens, GitHub, GitLab, AWS, Hugging Face, NVIDIA, Slack, PyPI
    (re.compile(r"(?<![\w-])eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*"), _REMOVED),
    (
        re.compile(r"\b(?:gh[pousr]_|github_pat_|glpat-|hf_|nvapi-|xox[abprs]-|pypi-)[\w-]{10,}"),
        _REMOVED,
    ),
    (re.compile(r"\b(?:sk|pk|rk)[-_][\w-]{16,}"), _REMOVED),
    (re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"), _REMOVED),
    (re.compile(r"[\w.+-]{1,64}@[\w-]{1,64}(?:\.[\w-]{1,64})+"), "<mail address>"),
    # What identifies a GPU, and with it the machine
    (re.compile(r"\b(?:GPU|MIG)-[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b"), "<GPU id>"),
    (re.compile(r"(/home/|/Users/)[^/\s\"':]+"), r"\1<user>"),
)

_COMMON = {"app", "nobody", "root", "user"}
"""Names that identify no person, and occur in many texts."""


class Scrubber:
    """Scrubs texts of one machine.

    A secret is found by its name (`token = ...`), by its form (`ghp_...`) or by its position
    (`https://user:password@host`). That is no proof: the sender of a bundle should look into it.
    """

    def __init__(self, *, home: Path | None, users: Iterable[str], host: str) -> None:
        """`home`: this user's folder; `users`, `host`: names to replace, wherever they stand."""
        self._home = str(home) if home is not None and home != Path("/") else ""
        names = {name: "<user>" for name in users if len(name) > 1 and name not in _COMMON}
        if len(host) > 1 and host != "localhost":
            names |= {host: "<host>", host.partition(".")[0]: "<host>"}
        self._names = [
            (re.compile(rf"(?<![\w-]){re.escape(name)}(?![\w-])"), word)
            for name, word in sorted(names.items(), key=lambda pair: -len(pair[0]))
        ]

    def text(self, text: str) -> str:
        """The text without what should not leave the machine."""
        if self._home:
            text = re.sub(rf"{re.escape(self._home)}(?![\w.-])", "~", text)
        for pattern, replacement in _PATTERNS:
            text = pattern.sub(replacement, text)
        for pattern, word in self._names:
            text = pattern.sub(word, text)
        return text


def allowed_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that explain how engines run, sorted; all others are left out.

    The values still need scrubbing. Of our own, those with the name of a secret are left out.
    """
    secret = re.compile(_NAME, re.IGNORECASE)
    return {
        name: environment[name]
        for name in sorted(environment)
        if name in _ALLOWED
        or (name.startswith("ENGINECRATE_") and (name.endswith("_FILE") or not secret.search(name)))
    }
