"""Keys that sign releases: ECDSA on P-256 with SHA-256, which is what cosign makes by default.

The public half is SPKI in PEM: `cosign verify --key` reads it. A key's id is the SHA-256 of its
SPKI in DER (RFC 5280, section 4.1.2.7). The private half is encrypted PKCS#8, with more rounds than
the library's own writer takes; OpenSSL, cryptography and Go's x509 with pkcs8 open it.

Source: RFC 5958 (EncryptedPrivateKeyInfo), RFC 8018 (PBES2 with PBKDF2), NIST SP 800-38A (CBC).
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

from enginecrate.errors import KeyInvalid, MissingExtra
from enginecrate.values import Digest

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import (
        EllipticCurvePrivateKey,
        EllipticCurvePublicKey,
    )

__all__ = [
    "ROUNDS",
    "PrivateKey",
    "PublicKey",
    "make_key",
    "parse_public_key",
    "private_key",
    "require_library",
]

ROUNDS = 600_000
"""Rounds of PBKDF2-HMAC-SHA256 that OWASP's password storage guide asks for; libraries use 2048."""
_PBES2 = bytes.fromhex("06092a864886f70d01050d")
_PBKDF2 = bytes.fromhex("06092a864886f70d01050c")
_HMAC_SHA256 = bytes.fromhex("300c06082a864886f70d02090500")
_AES_256_CBC = bytes.fromhex("060960864801650304012a")
_SEQUENCE, _OCTETS, _INTEGER = 0x30, 0x04, 0x02


@dataclass(frozen=True, slots=True)
class PublicKey:
    """The half that verifies. `pem`: SPKI; two keys are the same when their ids are."""

    id: Digest
    pem: str

    @property
    def hint(self) -> str:
        """The name of the key in sigstore bundles: its id in base64."""
        return base64.b64encode(bytes.fromhex(self.id.hex)).decode()

    def verifies(self, signature: bytes, message: bytes) -> bool:
        """True when `signature` (ASN.1 DER, `Ecdsa-Sig-Value`) is this key's on `message`."""
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric.ec import ECDSA

        try:
            _public_object(self.pem.encode(), "a key").verify(
                signature, message, ECDSA(hashes.SHA256())
            )
        except (InvalidSignature, ValueError):
            return False
        return True


@dataclass(frozen=True, slots=True)
class PrivateKey:
    """The half that signs. It is never shown."""

    public: PublicKey
    _key: EllipticCurvePrivateKey

    def __repr__(self) -> str:
        return f"PrivateKey({self.public.id})"

    def sign(self, message: bytes) -> bytes:
        """A signature in ASN.1 DER; another one each time."""
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric.ec import ECDSA

        return self._key.sign(message, ECDSA(hashes.SHA256()))

    def encrypted(self, passphrase: bytes, *, rounds: int = ROUNDS) -> bytes:
        """PKCS#8 in PEM, encrypted."""
        from cryptography.hazmat.primitives.serialization import (
            Encoding,
            NoEncryption,
            PrivateFormat,
        )

        der = self._key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        return _encrypt_pkcs8(der, passphrase, rounds=rounds)


def make_key() -> PrivateKey:
    """A new key. Raises `MissingExtra`."""
    require_library()
    from cryptography.hazmat.primitives.asymmetric import ec

    return private_key(ec.generate_private_key(ec.SECP256R1()))


def parse_public_key(pem: bytes, where: str) -> PublicKey:
    """A public key from PEM; `where` serves the messages.

    Raises:
        KeyInvalid: it is no public key, or not on P-256.
        MissingExtra: the library for it is missing.
    """
    return _public(_public_object(pem, where))


def _public_object(pem: bytes, where: str) -> EllipticCurvePublicKey:
    require_library()
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        key = load_pem_public_key(pem)
    except Exception as exc:  # ValueError, UnsupportedAlgorithm and what else the library throws
        private = b"PRIVATE KEY" in pem
        hint = " but a private one; name the file *.pub" if private else "; name a file *.pub"
        raise KeyInvalid(f"{where} is not a public key in PEM{hint}") from exc
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise KeyInvalid(
            f"{where} holds a key of another kind; only ECDSA keys on the curve P-256 are supported"
        )
    return key


def _public(key: EllipticCurvePublicKey) -> PublicKey:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return PublicKey(Digest.of(der), pem.decode())


def private_key(key: EllipticCurvePrivateKey) -> PrivateKey:
    """Ours, from the library's."""
    return PrivateKey(_public(key.public_key()), key)


def require_library() -> None:
    """Raises `MissingExtra`."""
    try:
        import cryptography  # noqa: F401
    except ModuleNotFoundError as exc:
        raise MissingExtra("cryptography", extra="image") from exc


def _encrypt_pkcs8(der: bytes, passphrase: bytes, *, rounds: int = ROUNDS) -> bytes:
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
