"""Both formats of signatures, against other programs and against cosign's own words for them."""

import base64
import json
import random
import subprocess

import pytest

from enginecrate.image.transports.layout import Layout
from enginecrate.release.documents.artifacts import read_artifact
from enginecrate.release.keys.keys import make_key
from enginecrate.release.signatures.cosign import SIGNATURE, SIMPLE_SIGNING, signature_tag
from enginecrate.release.signatures.judgement import judge
from enginecrate.release.signatures.reader import read_bundles, read_signatures
from enginecrate.release.signatures.signer import sign_image
from enginecrate.release.signatures.sigstore_bundle import BUNDLE, SIGN_PREDICATE
from enginecrate.values import Digest
from tiny_release import KEY, OTHER_KEY, REPOSITORY, add_image, trust


@pytest.fixture
def transport(tmp_path) -> Layout:
    return Layout(tmp_path / "layout", create=True)


def raw_manifest(transport: Layout, name: str) -> dict:
    return json.loads(transport.read_manifest(Digest(transport.resolve(name).digest)))


def openssl_agrees(tmp_path, key, message: bytes, signature: str) -> None:
    (tmp_path / "key.pub").write_text(key.public.pem)
    (tmp_path / "message").write_bytes(message)
    (tmp_path / "signature").write_bytes(base64.b64decode(signature))
    subprocess.run(
        ["openssl", "dgst", "-sha256", "-verify", tmp_path / "key.pub",
         "-signature", tmp_path / "signature", tmp_path / "message"],
        check=True, capture_output=True,
    )  # fmt: skip


def test_the_sig_tag_is_as_cosign_writes_it(transport, tmp_path):
    image = add_image(transport)
    sign_image(transport, image, [KEY], REPOSITORY)
    manifest = raw_manifest(transport, f"sha256-{image.digest[7:]}.sig")
    assert manifest["mediaType"] == "application/vnd.oci.image.manifest.v1+json"
    assert manifest["config"]["mediaType"] == "application/vnd.oci.image.config.v1+json"
    (layer,) = manifest["layers"]
    assert layer["mediaType"] == SIMPLE_SIGNING
    payload = transport.blob_path(Digest(layer["digest"])).read_bytes()
    assert json.loads(payload) == {
        "critical": {
            "identity": {"docker-reference": REPOSITORY},
            "image": {"docker-manifest-digest": image.digest},
            "type": "cosign container image signature",
        },
        "optional": None,
    }
    openssl_agrees(tmp_path, KEY, payload, layer["annotations"][SIGNATURE])
    config = json.loads(transport.blob_path(Digest(manifest["config"]["digest"])).read_bytes())
    assert config["rootfs"] == {"type": "layers", "diff_ids": [layer["digest"]]}


def test_the_bundle_is_as_cosign_3_writes_it(transport, tmp_path):
    image = add_image(transport)
    sign_image(transport, image, [KEY], REPOSITORY)
    (listed,) = transport.referrers(Digest(image.digest))
    assert listed.artifact_type == BUNDLE
    assert listed.annotations == {
        "dev.sigstore.bundle.content": "dsse-envelope",
        "dev.sigstore.bundle.predicateType": "https://sigstore.dev/cosign/sign/v1",
    }
    manifest, data = read_artifact(transport, listed)
    assert manifest.config.media_type == "application/vnd.oci.empty.v1+json"
    assert manifest.layers[0].media_type == BUNDLE
    bundle = json.loads(data)
    assert bundle["mediaType"] == "application/vnd.dev.sigstore.bundle.v0.3+json"
    hint = base64.b64encode(bytes.fromhex(KEY.public.id.hex)).decode()
    assert bundle["verificationMaterial"] == {"publicKey": {"hint": hint}}
    envelope = bundle["dsseEnvelope"]
    assert envelope["payloadType"] == "application/vnd.in-toto+json"
    payload = base64.b64decode(envelope["payload"])
    assert json.loads(payload) == {
        "_type": "https://in-toto.io/Statement/v1",
        "predicate": {},
        "predicateType": "https://sigstore.dev/cosign/sign/v1",
        "subject": [{"digest": {"sha256": image.digest[7:]}}],
    }
    kind = b"application/vnd.in-toto+json"
    encoded = b"DSSEv1 28 " + kind + b" " + str(len(payload)).encode() + b" " + payload
    (signature,) = envelope["signatures"]
    openssl_agrees(tmp_path, KEY, encoded, signature["sig"])


def test_the_protocols_own_example_of_what_is_signed():
    from enginecrate.release.signatures.sigstore_bundle import pre_authentication_encoding

    encoded = pre_authentication_encoding("http://example.com/HelloWorld", b"hello world")
    assert encoded == b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"


def test_signing_again_adds_nothing_and_others_are_kept(transport):
    image = add_image(transport)
    assert sign_image(transport, image, [KEY], REPOSITORY) == 2
    before = raw_manifest(transport, signature_tag(Digest(image.digest)))["layers"]
    assert sign_image(transport, image, [KEY], REPOSITORY) == 0
    assert sign_image(transport, image, [KEY, OTHER_KEY], REPOSITORY) == 2
    after = raw_manifest(transport, signature_tag(Digest(image.digest)))["layers"]
    assert after[:1] == before
    assert len(after) == 2
    assert len(transport.referrers(Digest(image.digest))) == 2


def test_signatures_of_cosign_with_annotations_of_its_own_are_kept(transport):
    image = add_image(transport)
    sign_image(transport, image, [KEY], REPOSITORY)
    tag = signature_tag(Digest(image.digest))
    manifest = raw_manifest(transport, tag)
    manifest["layers"][0]["annotations"]["dev.sigstore.cosign/bundle"] = "{}"
    manifest["annotations"] = {"org.example": "kept"}
    transport.write_manifest(json.dumps(manifest).encode(), manifest["mediaType"], [tag])
    sign_image(transport, image, [OTHER_KEY], REPOSITORY)
    after = raw_manifest(transport, tag)
    assert after["layers"][0]["annotations"]["dev.sigstore.cosign/bundle"] == "{}"
    assert after["annotations"] == {"org.example": "kept"}


@pytest.mark.parametrize("seed", range(8))
def test_who_signed_is_who_counts(transport, seed):
    """Any signers, any trusted keys: those that are both count, once each, in both formats."""
    chance = random.Random(seed)
    keys = [make_key() for _ in range(4)]
    signers = chance.sample(keys, chance.randint(1, 4))
    trusted = chance.sample(keys, chance.randint(1, 4))
    image = add_image(transport)
    for key in chance.sample(signers * 2, len(signers) * 2):
        sign_image(transport, image, [key], REPOSITORY)
    digest = Digest(image.digest)
    expected = sorted({key.public.id for key in signers} & {key.public.id for key in trusted})
    for found, wrong in (read_signatures(transport, digest), read_bundles(transport, digest)):
        assert not wrong
        assert len(found) == len(signers)
        judged = judge(found, wrong, {digest}, trust(*trusted), "1.0.0")
        assert [one.key.id for one in judged.signers] == expected
        assert judged.is_enough == bool(expected)
        assert len(judged.objections) == len(signers) - len(expected)


def test_a_statement_is_signed_with_its_own_predicate_type(pristine):
    found, _ = read_bundles(pristine.transport, Digest(pristine.image.digest))
    assert sorted(one.predicate_type for one in found) == [
        "https://enginecrate.dev/accuracy/v1",
        SIGN_PREDICATE,
        "https://slsa.dev/provenance/v1",
    ]
