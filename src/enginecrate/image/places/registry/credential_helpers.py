"""Programs that keep secrets outside of files: `docker-credential-NAME`.

Source: docker-credential-helpers, "Development": the protocol on stdin and stdout.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping

import msgspec

from enginecrate.errors import SettingInvalid

__all__ = ["HelperAnswer", "ask_helper"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_TIMEOUT = 60
_NOTHING = ("credentials not found", "no credentials")
"""What helpers print when they know nothing of a server."""


class HelperAnswer(msgspec.Struct, rename="pascal"):
    """`username` is `<token>` when the secret is an identity token."""

    username: str
    secret: str

    def __repr__(self) -> str:
        return f"HelperAnswer(username={self.username!r})"


def ask_helper(name: str, server: str, environment: Mapping[str, str]) -> HelperAnswer | None:
    """What a helper keeps for a server; None when it knows nothing of it.

    Raises:
        SettingInvalid: there is no such helper, it failed, or it answered something else.
    """
    program = f"docker-credential-{name}"
    path = shutil.which(program, path=environment.get("PATH")) if _NAME.fullmatch(name) else None
    if path is None:
        raise SettingInvalid(
            f"an auth file names the credential helper {program!r}, which is not on the PATH; "
            "install it, or remove it from the auth file"
        )
    try:
        done = subprocess.run(  # noqa: S603  the user's auth file chose it, as docker and podman do
            [path, "get"], input=server.encode(), capture_output=True, timeout=_TIMEOUT,
            env={k: v for k, v in environment.items() if not k.startswith("ENGINECRATE_")},
            check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as exc:
        reason = "gave no answer" if isinstance(exc, subprocess.TimeoutExpired) else "cannot run"
        raise SettingInvalid(f"the credential helper {path} {reason}; try it by hand") from None
    if done.returncode:
        words = done.stdout.decode("utf-8", "replace").lower()
        if any(known in words for known in _NOTHING):
            return None
        raise SettingInvalid(
            f"the credential helper {path} failed for {server} (exit code {done.returncode}); "
            "log in again"
        )
    try:
        return msgspec.json.decode(done.stdout, type=HelperAnswer)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise SettingInvalid(f"the credential helper {path} did not answer in JSON") from None
