"""Files of keys: written once, never overwritten, closed to other users."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

from enginecrate.errors import (
    InputUnreadable,
    KeyExists,
    KeyInvalid,
    PassphraseWrong,
    SystemRefused,
)
from enginecrate.release.keys.keys import (
    ROUNDS,
    PrivateKey,
    PublicKey,
    parse_public_key,
    private_key,
    require_library,
)
from enginecrate.release.keys.passphrase import require_strong

__all__ = ["load_private_key", "load_public_key", "refuse_existing", "write_key_pair"]

Passphrase = Callable[[], bytes]
"""A source of the passphrase; it is asked only when a key needs one."""

_MAX_BYTES = 64 << 10
_COSIGN_LABELS = (b"ENCRYPTED SIGSTORE PRIVATE KEY", b"ENCRYPTED COSIGN PRIVATE KEY")


def load_public_key(path: Path) -> PublicKey:
    """Read a public key's file. Raises `KeyInvalid`, `MissingExtra`."""
    return parse_public_key(_read(path), str(path))


def load_private_key(path: Path, passphrase: Passphrase) -> PrivateKey:
    """Read a private key's file.

    Raises:
        KeyInvalid: it cannot be read, others may read it, or it is not of the supported kind.
        PassphraseWrong: the passphrase does not open it.
        MissingExtra: the library for it is missing.
    """
    require_library()
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    data = _read(path)
    _refuse_foreign(data, path)
    _refuse_readable_by_others(path)
    sealed = b"BEGIN ENCRYPTED PRIVATE KEY" in data
    secret = passphrase() if sealed else None
    try:
        key = load_pem_private_key(data, secret)
    except (ValueError, TypeError) as exc:
        if sealed:
            raise PassphraseWrong(
                f"the passphrase does not open {path}, or the file is damaged; type it again, or "
                "restore the file from its backup"
            ) from exc
        raise _not_a_key(path) from exc
    except Exception as exc:  # UnsupportedAlgorithm and what else the library throws
        raise _not_a_key(path) from exc
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise KeyInvalid(
            f"{path} holds a key of another kind; only ECDSA keys on the curve P-256 sign "
            "releases: make one with `enginecrate keys new`"
        )
    return private_key(key)


def write_key_pair(
    path: Path, key: PrivateKey, passphrase: bytes, *, rounds: int = ROUNDS
) -> tuple[Path, Path]:
    """Write `PATH.key` (mode 0600, encrypted) and `PATH.pub`; nothing is ever overwritten.

    Returns:
        The two files.

    Raises:
        KeyExists: one of them is there already.
        KeyInvalid: the passphrase is empty or easily guessed.
        SystemRefused: they cannot be written.
    """
    files = refuse_existing(path)
    require_strong(passphrase)
    contents = key.encrypted(passphrase, rounds=rounds), key.public.pem.encode()
    try:
        _create(files[0], contents[0], 0o600)
        _create(files[1], contents[1], 0o644)
    except SystemRefused:
        # A half that is alone is of no use, and would be in the way of the next try.
        files[0].unlink(missing_ok=True)
        raise
    return files


def refuse_existing(path: Path) -> tuple[Path, Path]:
    """The two files of a key pair, none of which is there yet.

    Raises:
        KeyExists: one is there.
        KeyInvalid: the path does not end in a name.
        SystemRefused: the system takes no such path.
    """
    if path.name in ("", ".."):
        raise KeyInvalid(f"{path} is no name for a key; give one such as {path / 'release-2026'}")
    files = path.with_name(path.name + ".key"), path.with_name(path.name + ".pub")
    for file in files:
        try:
            file.lstat()
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as exc:
            raise SystemRefused(
                f"cannot look at {file}: {exc.strerror}; choose another path"
            ) from exc
        raise KeyExists(f"{file} is there already; choose another name, keys are kept forever")
    return files


def _create(file: Path, content: bytes, mode: int) -> None:
    """A new file, whole or not at all."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    except OSError as exc:
        raise SystemRefused(f"cannot write {file}: {exc.strerror}; choose another folder") from exc
    try:
        with os.fdopen(descriptor, "wb") as opened:
            opened.write(content)
            opened.flush()
            os.fsync(descriptor)
    except OSError as exc:
        file.unlink(missing_ok=True)
        raise SystemRefused(f"cannot write {file}: {exc.strerror}; choose another folder") from exc


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except OSError as exc:
        raise InputUnreadable(
            f"cannot read the key {path}: {exc.strerror}; check its path"
        ) from exc
    if len(data) > _MAX_BYTES:
        raise KeyInvalid(f"{path} is too large for a key; name the file of a key")
    return data


def _refuse_readable_by_others(path: Path) -> None:
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        raise KeyInvalid(
            f"other users may read the private key {path} (mode {mode:04o}); close it with: "
            f"chmod 600 {path}, and make a new key if it may have been copied"
        )


def _refuse_foreign(data: bytes, path: Path) -> None:
    if b"-----BEGIN PUBLIC KEY-----" in data:
        raise KeyInvalid(f"{path} is a public key, which cannot sign; name the private one, *.key")
    if any(label in data for label in _COSIGN_LABELS):
        raise KeyInvalid(
            f"{path} is in cosign's own format, which is not read here; make a key with "
            "`enginecrate keys new` (cosign verifies with its public half), and trust both while "
            "you change over: docs/signing.md"
        )


def _not_a_key(path: Path) -> KeyInvalid:
    return KeyInvalid(
        f"{path} is not a private key in PEM (PKCS#8); name the file that "
        "`enginecrate keys new` has written"
    )
