"""Private keys on the command line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from enginecrate.cli.shared.secrets import ask_passphrase, once

if TYPE_CHECKING:
    from enginecrate.release.keys import PrivateKey

__all__ = ["SigningKeys", "load_keys"]

SigningKeys = Annotated[
    list[Path],
    typer.Option("--key", metavar="KEY.key", help="Private key that signs; may be repeated"),
]


def load_keys(paths: Sequence[Path], file: Path | None, descriptor: int | None) -> list[PrivateKey]:
    """One passphrase that is given opens all keys; a prompt asks for each."""
    from enginecrate.release.key_files import load_private_key

    asked = once(file, descriptor)
    return [load_private_key(path, asked or ask_passphrase(path)) for path in paths]
