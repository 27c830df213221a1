"""Encrypted PKCS#8, with more rounds than the library's own writer takes.

Source: RFC 5958 (EncryptedPrivateKeyInfo), RFC 8018 (PBES2 with PBKDF2), NIST SP 800-38A (CBC).
Every reader of PKCS#8 opens the result: OpenSSL, cryptography, Go's x509 with pkcs8.
"""

from __future__ import annotations

import base64
import hashlib
import secrets

__all__ = ["ROUNDS", "encrypt_pkcs8"]

ROUNDS = 600_000
"""Of PBKDF2-HMAC-SHA256: what OWASP's password storage guide asks for; libraries write 2048."""

_PBES2 = bytes.fromhex("06092a864886f70d01050d")
_PBKDF2 = bytes.fromhex("06092a864886f70d01050c")
_HMAC_SHA256 = bytes.fromhex("300c06082a864886f70d02090500")
_AES_256_CBC = bytes.fromhex("060960864801650304012a")
_SEQUENCE, _OCTETS, _INTEGER = 0x30, 0x04, 0x02


def encrypt_pkcs8(der: bytes, passphrase: bytes, *, rounds: int = ROUNDS) -> bytes:
    """A private key (PKCS#8, DER) as `ENCRYPTED PRIVATE KEY` in PEM."""
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
    from cryptography.hazmat.primitives.padding import PKCS7

    salt, vector = secrets.token_bytes(16), secrets.token_bytes(16)
    key = hashlib.pbkdf2_hmac("sha256", passphrase, salt, rounds, 32)
    padder = PKCS7(128).padder()
    padded = padder.update(der) + padder.finalize()
    encryptor = Cipher(algorithms.AES256(key), modes.CBC(vector)).encryptor()
    sealed = encryptor.update(padded) + encryptor.finalize()
    counted = rounds.to_bytes(rounds.bit_length() // 8 + 1, "big")
    derivation = _tagged(
        _SEQUENCE, _tagged(_OCTETS, salt) + _tagged(_INTEGER, counted) + _HMAC_SHA256
    )
    scheme = _tagged(_SEQUENCE, _PBKDF2 + derivation)
    cipher = _tagged(_SEQUENCE, _AES_256_CBC + _tagged(_OCTETS, vector))
    algorithm = _tagged(_SEQUENCE, _PBES2 + _tagged(_SEQUENCE, scheme + cipher))
    return _pem(_tagged(_SEQUENCE, algorithm + _tagged(_OCTETS, sealed)))


def _tagged(tag: int, content: bytes) -> bytes:
    """One element of DER."""
    size = len(content)
    if size < 0x80:
        return bytes((tag, size)) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + content


def _pem(der: bytes) -> bytes:
    label = "ENCRYPTED PRIVATE KEY"
    text = base64.b64encode(der).decode()
    lines = [text[i : i + 64] for i in range(0, len(text), 64)]
    return "\n".join([f"-----BEGIN {label}-----", *lines, f"-----END {label}-----", ""]).encode()
