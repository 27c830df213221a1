"""Keys: files, passphrases, and what other programs make of them."""

import os
import stat
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from enginecrate.errors import InputUnreadable, KeyInvalid, PassphraseWrong
from enginecrate.release.keys.key_files import load_private_key, load_public_key, write_key_pair
from enginecrate.release.keys.keys import PublicKey, make_key, parse_public_key
from enginecrate.values import Digest

ROUNDS = 1000


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return write_key_pair(tmp_path_factory.mktemp("keys") / "isv", make_key(), b"correct horse")


def openssl(*words: str | Path, data: bytes = b"") -> bytes:
    done = subprocess.run(["openssl", *words], input=data, capture_output=True, check=True)
    return done.stdout


def other_kind(kind: str) -> bytes:
    key = (
        rsa.generate_private_key(65537, 2048) if kind == "rsa"
        else ec.generate_private_key(ec.SECP384R1())
    )  # fmt: skip
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def test_a_pair_is_written_once_and_closed(pair):
    private, _ = pair
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    assert b"BEGIN ENCRYPTED PRIVATE KEY" in private.read_bytes()
    before = private.read_bytes()
    with pytest.raises(KeyInvalid, match="is there already"):
        write_key_pair(private.with_suffix(""), make_key(), b"other", rounds=ROUNDS)
    assert private.read_bytes() == before
    with pytest.raises(KeyInvalid, match="needs a passphrase"):
        write_key_pair(private.with_name("new"), make_key(), b"", rounds=ROUNDS)


@pytest.mark.parametrize(
    ("passphrase", "reason"),
    [
        ("x", "has 1 character, and 8 are the least"),
        ("x7!Kp2q", "has 7 characters"),
        ("äöüßäöü", "has 7 characters"),
        ("        ", "is made of blanks"),
        ("z" * 40, "repeats one character"),
        ("abababababab", "has 2 different characters"),
        ("12345678", "is a row of neighbours"),
        ("hgfedcba", "is a row of neighbours"),
        ("1234567890", "is a row of neighbours"),
        ("Password1!", "is a word that everybody tries first"),
        ("abcd1234", "is a word that everybody tries first"),
    ],
)
def test_a_new_key_refuses_a_weak_passphrase_with_the_reason(tmp_path, passphrase, reason):
    with pytest.raises(KeyInvalid) as caught:
        write_key_pair(tmp_path / "isv", make_key(), passphrase.encode(), rounds=1)
    assert reason in str(caught.value)
    assert not passphrase.strip() or len(passphrase) == 1 or passphrase not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("passphrase", ["x7!Kp2qa", "äöüßabcd", "correct horse", "\ud800 bytes 9"])
def test_a_new_key_takes_other_passphrases(tmp_path, passphrase):
    secret = passphrase.encode("utf-8", "surrogatepass")
    private, _ = write_key_pair(tmp_path / "isv", make_key(), secret, rounds=1)
    assert load_private_key(private, lambda: secret)


def test_a_key_with_a_weak_passphrase_still_opens(tmp_path):
    old = tmp_path / "old.key"
    old.write_bytes(make_key().encrypted(b"x", rounds=1))
    old.chmod(0o600)
    assert load_private_key(old, lambda: b"x")


def test_what_was_written_signs_and_verifies(pair):
    private, public = (
        load_private_key(pair[0], lambda: b"correct horse"),
        load_public_key(pair[1]),
    )
    assert private.public == public
    signature = private.sign(b"message")
    assert public.verifies(signature, b"message")
    assert not public.verifies(signature, b"massage")
    assert not make_key().public.verifies(signature, b"message")
    assert "correct" not in repr(private)
    assert repr(private) == f"PrivateKey({public.id})"


def test_openssl_reads_both_halves_and_agrees_on_the_id(pair, tmp_path):
    private, public = pair
    shown = openssl("pkey", "-in", private, "-passin", "pass:correct horse", "-pubout")
    assert shown == public.read_bytes()
    der = openssl("pkey", "-pubin", "-in", public, "-outform", "DER")
    assert load_public_key(public).id == Digest.of(der)
    message, signature = tmp_path / "message", tmp_path / "signature"
    message.write_bytes(b"message")
    signature.write_bytes(load_private_key(private, lambda: b"correct horse").sign(b"message"))
    openssl("dgst", "-sha256", "-verify", public, "-signature", signature, message)
    signed = openssl("dgst", "-sha256", "-sign", private, "-passin", "pass:correct horse", message)
    assert load_public_key(public).verifies(signed, b"message")


def test_the_passphrase_is_expensive_to_guess(pair):
    shown = openssl("asn1parse", "-in", pair[0]).decode()
    assert "PBKDF2" in shown
    assert "hmacWithSHA256" in shown
    assert "aes-256-cbc" in shown
    rounds = [line.split(":")[-1] for line in shown.splitlines() if "INTEGER" in line]
    assert int(rounds[0], 16) == 600_000


def test_a_wrong_passphrase(pair):
    with pytest.raises(PassphraseWrong, match="does not open") as caught:
        load_private_key(pair[0], lambda: b"battery staple")
    assert "battery" not in str(caught.value)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660])
def test_a_private_key_that_others_may_read_is_refused(pair, tmp_path, mode):
    copy = tmp_path / "copy.key"
    copy.write_bytes(pair[0].read_bytes())
    copy.chmod(mode)
    with pytest.raises(KeyInvalid, match=f"chmod 600 {copy}"):
        load_private_key(copy, lambda: b"correct horse")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not a private key"),
        (b"\0\xff" * 50, "not a private key"),
        (b"x" * 100_000, "too large"),
        (b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
         "does not open"),
        (b"-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED SIGSTORE "
         b"PRIVATE KEY-----\n", "cosign's own format"),
        (make_key().public.pem.encode(), "is a public key"),
        (other_kind("rsa"), "of another kind"),
        (other_kind("p384"), "of another kind"),
    ],
    ids=["empty", "binary", "huge", "cut", "cosign", "public", "rsa", "p384"],
)  # fmt: skip
def test_what_is_no_private_key(tmp_path, content, words):
    file = tmp_path / "bad.key"
    file.write_bytes(content)
    file.chmod(0o600)
    with pytest.raises((KeyInvalid, PassphraseWrong), match=words):
        load_private_key(file, lambda: b"x")


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(InputUnreadable, match="No such file"):
        load_public_key(tmp_path / "missing.pub")
    with pytest.raises(InputUnreadable, match="Is a directory"):
        load_private_key(tmp_path, lambda: b"x")


@pytest.mark.parametrize(
    "pem", [b"", b"garbage", other_kind("rsa"), make_key().encrypted(b"x", rounds=1)]
)
def test_what_is_no_public_key(pem):
    with pytest.raises(KeyInvalid, match="key"):
        parse_public_key(pem, "a file")


def test_a_plain_private_key_needs_no_passphrase(tmp_path):
    plain = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    file = tmp_path / "plain.key"
    file.write_bytes(plain)
    file.chmod(0o600)

    def never() -> bytes:
        raise AssertionError("asked for a passphrase")

    assert isinstance(load_private_key(file, never).public, PublicKey)


@pytest.mark.parametrize("number", range(60))
def test_damaged_signatures_are_false_and_never_raise(number):
    key = make_key() if number == 0 else KEY
    signature = bytearray(key.sign(b"message"))
    if number < 20:
        signature[number % len(signature)] ^= 1 << (number % 8)
    elif number < 40:
        signature = signature[: number - 20]
    else:
        signature = bytearray(os.urandom(number))
    assert not key.public.verifies(bytes(signature), b"message")


KEY = make_key()
