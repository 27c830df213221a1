"""Where the passphrase of a key comes from: a file, a descriptor, the environment, or a prompt.

Private keys on the command line.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from enginecrate.errors import InputUnreadable, KeyInvalid

if TYPE_CHECKING:
    from enginecrate.release.keys.keys import PrivateKey


__all__ = [
    "PassphraseFd",
    "PassphraseFile",
    "SigningKeys",
    "ask_new_passphrase",
    "ask_passphrase",
    "load_keys",
]

VARIABLE = "ENGINECRATE_KEY_PASSPHRASE"
_MAX_BYTES = 4096

PassphraseFile = Annotated[
    Path | None,
    typer.Option(
        "--passphrase-file",
        metavar="FILE",
        help=f"File whose first line is the key's passphrase (default: {VARIABLE}, or a prompt)",
    ),
]

PassphraseFd = Annotated[
    int | None,
    typer.Option(
        "--passphrase-fd", metavar="N", help="Open file descriptor to read the passphrase from"
    ),
]


def ask_passphrase(
    key: Path, file: Path | None = None, descriptor: int | None = None
) -> Callable[[], bytes]:
    """How to get the passphrase of a key; it is read when the key needs it.

    The callable raises `InputUnreadable` (no such file), `KeyInvalid` (no terminal to ask on).
    """

    def ask() -> bytes:
        found = _given(file, descriptor)
        return _prompt(f"Passphrase of {key}: ") if found is None else found

    return ask


def once(file: Path | None, descriptor: int | None) -> Callable[[], bytes] | None:
    """A passphrase that was given, for several keys; `None` when it must be asked for.

    Raises `InputUnreadable`, `KeyInvalid`.
    """
    found = _given(file, descriptor)
    return None if found is None else lambda: found


def ask_new_passphrase(file: Path | None = None, descriptor: int | None = None) -> bytes:
    """The passphrase of a key that is being made; a prompt asks twice. Raises as above."""
    found = _given(file, descriptor)
    if found is None:
        found = _prompt("Passphrase of the new key: ")
        if _prompt("The same again: ") != found:
            raise KeyInvalid("the two passphrases differ; nothing was written, try again")
    if not found:
        raise KeyInvalid("the passphrase is empty; give one, it is what protects a stolen file")
    return found


def _given(file: Path | None, descriptor: int | None) -> bytes | None:
    if file is not None and descriptor is not None:
        raise KeyInvalid("--passphrase-file and --passphrase-fd exclude each other; give one")
    try:
        if file is not None:
            with file.open("rb") as opened:
                return _first_line(opened.fileno())
        if descriptor is not None:
            return _first_line(descriptor)
    except OSError as exc:
        where = file if file is not None else f"the descriptor {descriptor}"
        raise InputUnreadable(
            f"cannot read the passphrase from {where}: {exc.strerror}; check it"
        ) from exc
    found = os.environ.get(VARIABLE)
    return None if found is None else found.encode()


def _prompt(words: str) -> bytes:
    import getpass

    if not sys.stdin.isatty():
        raise KeyInvalid(
            "the key needs a passphrase, and there is no terminal to ask on; give it in "
            f"{VARIABLE}, with --passphrase-file, or with --passphrase-fd"
        )
    return getpass.getpass(words).encode()


def _first_line(descriptor: int) -> bytes:
    """Up to the first line end; whoever writes into a pipe may do it in several parts."""
    data = b""
    while b"\n" not in data and (piece := os.read(descriptor, _MAX_BYTES)):
        data += piece
        if len(data.partition(b"\n")[0]) > _MAX_BYTES:
            raise KeyInvalid(
                f"the passphrase is longer than {_MAX_BYTES} bytes; give the file or descriptor "
                "whose first line it is"
            )
    return data.splitlines()[0] if data.strip() else b""


SigningKeys = Annotated[
    list[Path],
    typer.Option("--key", metavar="KEY.key", help="Private key that signs; may be repeated"),
]


def load_keys(paths: Sequence[Path], file: Path | None, descriptor: int | None) -> list[PrivateKey]:
    """One passphrase that is given opens all keys; a prompt asks for each."""
    from enginecrate.release.keys.key_files import load_private_key

    asked = once(file, descriptor)
    return [load_private_key(path, asked or ask_passphrase(path)) for path in paths]
