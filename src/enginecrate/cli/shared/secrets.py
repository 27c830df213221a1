"""Passphrases and private keys on the command line.

A passphrase comes from a file, from a descriptor, from the environment, or from a prompt.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from enginecrate.errors import InputUnreadable, KeyInvalid

if TYPE_CHECKING:
    from enginecrate.release.keys.keys import PrivateKey

__all__ = ["PassphraseSource", "SigningKeys"]

_VARIABLE = "ENGINECRATE_KEY_PASSPHRASE"
_MAX_BYTES = 4096

SigningKeys = Annotated[
    list[Path],
    typer.Option("--key", metavar="KEY.key", help="Private key that signs; may be repeated"),
]

_PassphraseFile = Annotated[
    Path | None,
    typer.Option(
        "--passphrase-file",
        metavar="FILE",
        help=f"File whose first line is the key's passphrase (default: {_VARIABLE}, or a prompt)",
    ),
]

_PassphraseFd = Annotated[
    int | None,
    typer.Option(
        "--passphrase-fd", metavar="N", help="Open file descriptor to read the passphrase from"
    ),
]


@dataclass(frozen=True, slots=True)
class PassphraseSource:
    """Options of every verb that opens or makes a private key.

    Every method raises `InputUnreadable` (no such file) and `KeyInvalid` (no terminal to ask on).
    """

    passphrase_file: _PassphraseFile = None
    passphrase_fd: _PassphraseFd = None

    def load_keys(self, paths: Sequence[Path]) -> list[PrivateKey]:
        """The private keys. A given passphrase opens all of them; a prompt asks for each."""
        from enginecrate.release.keys.key_files import load_private_key

        given = self._given()
        if given is None:
            return [load_private_key(path, _prompt_for(path)) for path in paths]
        return [load_private_key(path, lambda: given) for path in paths]

    def load_key(self, path: Path) -> PrivateKey:
        """One private key. Its passphrase is read only when the key needs one."""
        from enginecrate.release.keys.key_files import load_private_key

        def passphrase() -> bytes:
            given = self._given()
            return _prompt_for(path)() if given is None else given

        return load_private_key(path, passphrase)

    def ask_new(self) -> bytes:
        """The passphrase of a key that is being made; a prompt asks twice."""
        from enginecrate.release.keys.passphrase import require_strong

        passphrase = self._given()
        if passphrase is None:
            passphrase = _prompt("Passphrase of the new key: ")
            require_strong(passphrase)  # before it is typed again
            if _prompt("The same again: ") != passphrase:
                raise KeyInvalid("the two passphrases differ; nothing was written, try again")
        require_strong(passphrase)
        return passphrase

    def _given(self) -> bytes | None:
        """The passphrase; `None` when it must be asked for."""
        file, descriptor = self.passphrase_file, self.passphrase_fd
        if file is not None and descriptor is not None:
            raise KeyInvalid("--passphrase-file and --passphrase-fd exclude each other; give one")
        try:
            if file is not None:
                with file.open("rb") as stream:
                    return _first_line(stream.fileno())
            if descriptor is not None:
                return _first_line(descriptor)
        except OSError as exc:
            where = file if file is not None else f"the descriptor {descriptor}"
            raise InputUnreadable(
                f"cannot read the passphrase from {where}: {exc.strerror}; check it"
            ) from exc
        variable = os.environ.get(_VARIABLE)
        return None if variable is None else variable.encode()


def _prompt_for(key: Path) -> Callable[[], bytes]:
    return lambda: _prompt(f"Passphrase of {key}: ")


def _prompt(words: str) -> bytes:
    import getpass

    if not sys.stdin.isatty():
        raise KeyInvalid(
            "the key needs a passphrase, and there is no terminal to ask on; give it in "
            f"{_VARIABLE}, with --passphrase-file, or with --passphrase-fd"
        )
    return getpass.getpass(words).encode()


def _first_line(descriptor: int) -> bytes:
    """Up to the first line end; a program that writes into a pipe may do it in several parts."""
    data = b""
    while b"\n" not in data and (piece := os.read(descriptor, _MAX_BYTES)):
        data += piece
        if len(data.partition(b"\n")[0]) > _MAX_BYTES:
            raise KeyInvalid(
                f"the passphrase is longer than {_MAX_BYTES} bytes; give the file or descriptor "
                "whose first line it is"
            )
    return data.splitlines()[0] if data.strip() else b""
