"""Whatever lies beside an image: verification says what is wrong, and never breaks."""

import base64
import json
import random
from typing import ClassVar

import pytest

from enginecrate.image.formats.oci import CONFIG, MANIFEST, ImageManifest, decode, encode
from enginecrate.image.transports.layout import Layout
from enginecrate.release.documents.artifacts import attach, descriptor_of
from enginecrate.release.keys.keys import make_key
from enginecrate.release.signatures.cosign import (
    SIGNATURE,
    SIMPLE_SIGNING,
    encode_payload,
    signature_tag,
)
from enginecrate.release.signatures.judgement import judge
from enginecrate.release.signatures.reader import read_bundles, read_signatures
from enginecrate.release.signatures.signer import sign_image
from enginecrate.release.signatures.sigstore_bundle import (
    BUNDLE,
    SIGN_PREDICATE,
    encode_bundle,
    sign_statement,
)
from enginecrate.values import Digest
from tiny_release import KEY, REPOSITORY, TAG, add_image, faults, trust, verify

EMPTY = base64.b64encode(b"").decode()


@pytest.fixture
def transport(tmp_path) -> Layout:
    return Layout(tmp_path / "layout", create=True)


def put_bundle(transport: Layout, image, data: bytes) -> None:
    attach(transport, data, artifact_type=BUNDLE, media_type=BUNDLE, subject=image)


def put_signature(transport: Layout, image, payload: bytes, annotations: dict[str, str]) -> None:
    layer = descriptor_of(payload, SIMPLE_SIGNING)
    transport.write_blob(layer, iter((payload,)))
    manifest = ImageManifest(config=transport.add_blob(iter((b"{}",)), CONFIG), layers=(layer,))
    document = json.loads(encode(manifest))
    document["layers"][0]["annotations"] = annotations
    transport.write_manifest(
        json.dumps(document).encode(), MANIFEST, [signature_tag(Digest(image.digest))]
    )


def changed(bundle: dict, *path: str | int, value: object) -> bytes:
    one = bundle
    for name in path[:-1]:
        one = one[name]
    one[path[-1]] = value
    return json.dumps(bundle).encode()


def sound_bundle(digest: str) -> dict:
    return json.loads(encode_bundle(sign_statement(Digest(digest)), KEY))


BUNDLES = {
    "empty": lambda _: b"",
    "not json": lambda _: b"\xff\xfe{",
    "not an object": lambda _: b"[1, 2]",
    "deep": lambda _: b"[" * 200_000 + b"]" * 200_000,
    "no envelope": lambda one: json.dumps({k: v for k, v in one.items() if k != "dsseEnvelope"}),
    "no material": lambda one: json.dumps({k: one[k] for k in ("mediaType", "dsseEnvelope")}),
    "payload": lambda one: changed(one, "dsseEnvelope", "payload", value="%%%"),
    "empty payload": lambda one: changed(one, "dsseEnvelope", "payload", value=""),
    "payload of html": lambda one: changed(
        one, "dsseEnvelope", "payload", value=base64.b64encode(b"<html>").decode()
    ),
    "type": lambda one: changed(one, "dsseEnvelope", "payloadType", value="text/plain"),
    "signature": lambda one: changed(one, "dsseEnvelope", "signatures", 0, "sig", value="!"),
    "empty signature": lambda one: changed(
        one, "dsseEnvelope", "signatures", 0, "sig", value=EMPTY
    ),
    "no signature": lambda one: changed(one, "dsseEnvelope", "signatures", value=[]),
    "two signatures": lambda one: changed(
        one, "dsseEnvelope", "signatures", value=one["dsseEnvelope"]["signatures"] * 2
    ),
    "number": lambda one: changed(one, "dsseEnvelope", "signatures", 0, "sig", value=17),
    "hint": lambda one: changed(one, "verificationMaterial", "publicKey", value=[]),
}


@pytest.mark.parametrize("name", BUNDLES)
def test_bundles(transport, name):
    image = add_image(transport)
    made = BUNDLES[name](sound_bundle(image.digest))
    put_bundle(transport, image, made.encode() if isinstance(made, str) else made)
    assert faults(verify(transport))["signatures"]
    found, wrong = read_bundles(transport, Digest(image.digest))
    assert len(found) + len(wrong) == 1
    if name == "empty signature":
        assert not KEY.public.verifies(found[0].signature, found[0].message)
    elif name != "hint":
        assert wrong


def test_a_bundle_that_was_changed_after_signing(transport):
    image = add_image(transport)
    bundle = sound_bundle(image.digest)
    other = base64.b64encode(sign_statement(Digest(image.digest)) + b" ").decode()
    put_bundle(transport, image, changed(bundle, "dsseEnvelope", "payload", value=other))
    assert "it was changed after signing" in faults(verify(transport))["signatures"]


def test_fields_that_a_later_cosign_adds_are_passed_over(transport):
    image = add_image(transport)
    bundle = sound_bundle(image.digest)
    bundle["verificationMaterial"]["tlogEntries"] = [{"logIndex": "1"}]
    bundle["verificationMaterial"]["timestampVerificationData"] = {}
    put_bundle(transport, image, changed(bundle, "new", value={"a": 1}))
    found, wrong = read_bundles(transport, Digest(image.digest))
    assert not wrong
    assert found[0].predicate_type == SIGN_PREDICATE
    assert KEY.public.verifies(found[0].signature, found[0].message)


def test_a_huge_bundle_is_not_read(transport):
    image = add_image(transport)
    put_bundle(transport, image, b" " * ((64 << 20) + 1))
    sign_image(transport, image, [KEY], REPOSITORY)
    found, wrong = read_bundles(transport, Digest(image.digest))
    assert "more than 67,108,864 bytes; the largest were not read" in wrong[0]
    assert len(found) == 1


def test_very_many_bundles_are_not_read(transport, monkeypatch):
    monkeypatch.setattr("enginecrate.release.signatures.reader.MAX_BUNDLES", 3)
    image = add_image(transport)
    sign_image(transport, image, [make_key() for _ in range(4)], REPOSITORY)
    found, wrong = read_bundles(transport, Digest(image.digest))
    assert len(found) == 3
    assert "has 4 bundles, and the first 3 were read" in wrong[0]


def test_each_blob_beside_an_image_is_judged_once(pristine):
    """Bundles are in memory for both formats and all statements, and come from the place once."""

    class Counting(Layout):
        reads: ClassVar[list[str]] = []

        def read_blob(self, descriptor):
            self.reads.append(descriptor.digest)
            return super().read_blob(descriptor)

    transport = Counting(pristine.transport.folder)
    assert not faults(verify(transport))
    content = {
        one.digest: decode(transport.read_manifest(Digest(one.digest)), ImageManifest, "").layers[0]
        for one in transport.referrers(Digest(pristine.image.digest))
        if one.artifact_type == BUNDLE
    }
    assert content
    assert {transport.reads.count(one.digest) for one in content.values()} == {1}


def sound_annotation(payload: bytes) -> dict[str, str]:
    return {SIGNATURE: base64.b64encode(KEY.sign(payload)).decode()}


@pytest.mark.parametrize(
    "payload",
    [
        b"", b"{}", b"null", b"\xff", b"[" * 100_000, b'{"critical": {}}',
        b'{"critical": {"identity": {"docker-reference": 1}, "image": {}, "type": ""}}',
        b'{"critical":{"identity":{"docker-reference":""},"image":{"docker-manifest-digest":'
        b'"sha256:0"},"type":"atomic container signature"}}',
    ],
)  # fmt: skip
def test_payloads(transport, payload):
    """They are signed, and mean nothing."""
    image = add_image(transport)
    put_signature(transport, image, payload, sound_annotation(payload))
    found, wrong = read_signatures(transport, Digest(image.digest))
    assert not found
    assert wrong
    assert faults(verify(transport))["signatures"]


@pytest.mark.parametrize(
    "annotations", [{}, {SIGNATURE: ""}, {SIGNATURE: "%"}, {SIGNATURE: "QUJD\nREVG"},
                    {SIGNATURE: "QUJD"}, {SIGNATURE: "A" * 100_001}]
)  # fmt: skip
def test_signature_annotations(transport, annotations):
    image = add_image(transport)
    payload = encode_payload(Digest(image.digest), "")
    put_signature(transport, image, payload, annotations)
    assert "0 of 1 required keys" in faults(verify(transport))["signatures"]


def test_the_sound_one_counts_among_broken_ones(transport):
    """A signature with a flipped sign of s is the same key's: it must not count as a second."""
    image = add_image(transport)
    payload = encode_payload(Digest(image.digest), "")
    put_signature(transport, image, payload, sound_annotation(payload))
    found, _ = read_signatures(transport, Digest(image.digest))
    twice = [*found, *found]
    judged = judge(twice, ["broken"], {image.digest}, trust(), "1.2.0")
    assert len(judged.signers) == 1
    assert judged.objections == ("broken",)


def test_ecdsa_signatures_in_their_other_form(transport):
    """(r, n - s) verifies, too: it is no second signer, and no other message."""
    from cryptography.hazmat.primitives.asymmetric.utils import (
        decode_dss_signature,
        encode_dss_signature,
    )

    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    r, s = decode_dss_signature(KEY.sign(b"message"))
    other = encode_dss_signature(r, order - s)
    assert KEY.public.verifies(other, b"message")
    assert not KEY.public.verifies(other, b"another")
    for bad in (encode_dss_signature(0, 0), encode_dss_signature(r, s + order),
                other + b"\0", other[:-1]):  # fmt: skip
        assert not KEY.public.verifies(bad, b"message")


@pytest.mark.parametrize("seed", range(24))
def test_random_damage_never_breaks_verification(pristine, tmp_path, seed):
    """Bytes of signatures, documents and index files are changed, cut and repeated at random."""
    chance = random.Random(seed)
    release = pristine.copy(tmp_path / "layout")
    blobs = sorted((release.transport.folder / "blobs" / "sha256").iterdir())
    for _ in range(chance.randint(1, 3)):
        path = chance.choice(blobs)
        data = bytearray(path.read_bytes())
        start = chance.randrange(len(data) + 1)
        part = data[start : start + chance.randint(0, 40)]
        data[start : start + chance.randint(0, 40)] = chance.choice(
            [b"", part * 3, chance.randbytes(20), b'"\xff', b"{[" * 50, b"1e999"]
        )
        path.write_bytes(data)
    report = verify(release.transport, TAG)
    assert report.checks
    assert all(isinstance(one.detail, str) for one in report.checks)


@pytest.mark.parametrize("seed", range(16))
def test_random_bundles_never_break_verification(pristine, tmp_path, seed):
    """Under their right digest, so that it is the parser that sees them."""
    chance = random.Random(seed)
    release = pristine.copy(tmp_path / "layout")
    data = bytearray(json.dumps(sound_bundle(release.image.digest)).encode())
    for _ in range(chance.randint(1, 5)):
        data[chance.randrange(len(data))] = chance.randrange(256)
    if chance.random() < 0.3:
        data = data[: chance.randrange(len(data))]
    put_bundle(release.transport, release.image, bytes(data))
    # The sound signature is still there, so whatever lies beside it does no harm.
    assert not faults(verify(release.transport))
