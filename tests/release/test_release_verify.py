"""A sound release passes; each kind of tampering has a message of its own."""

import io
import json
import shutil
import tarfile

import msgspec
import pytest

from enginecrate.errors import ImageNotFound, VerificationFailed, VerificationIncomplete
from enginecrate.image.formats.oci import (
    INDEX,
    ContainerConfig,
    Descriptor,
    ImageIndex,
    ImageManifest,
    decode,
    encode,
)
from enginecrate.image.transports.layout import Layout
from enginecrate.image.transports.oci_archive import Archive
from enginecrate.image.transports.oci_archive_export import save
from enginecrate.release.content.packages import named_packages
from enginecrate.release.create.release import create_release, sign_release
from enginecrate.release.create.release_image import ReleaseImage
from enginecrate.release.documents.artifacts import CYCLONEDX, attach
from enginecrate.release.keys.keys import make_key
from enginecrate.release.keys.trust_file import Trust, TrustedKey
from enginecrate.release.manifest import RELEASE, write_release
from enginecrate.release.signatures.attachments import KIND
from enginecrate.release.signatures.signer import sign_image
from enginecrate.release.signatures.sigstore_bundle import BUNDLE
from enginecrate.release.verify.verification import CHECKS, VerifyOptions, verify_image
from enginecrate.values import Digest
from layered_images import Item
from tiny_release import (
    KEY,
    OTHER_KEY,
    REPOSITORY,
    TAG,
    add_image,
    app_files,
    base_files,
    documents,
    faults,
    make_release,
    plan_files,
    release_image,
    statement,
    trust,
    verify,
)


def remove_from_index(transport: Layout, digest: str) -> None:
    path = transport.folder / "index.json"
    index = decode(path.read_bytes(), ImageIndex, "index")
    kept = tuple(one for one in index.manifests if one.digest != digest)
    assert len(kept) < len(index.manifests)
    path.write_bytes(encode(msgspec.structs.replace(index, manifests=kept)))


def flip(release, digest: str, position: int = -1) -> None:
    path = release.blob(digest)
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)


def test_a_sound_release_passes_everything_that_can_run(pristine):
    report = verify(pristine.transport)
    assert tuple(one.name for one in report.checks) == CHECKS
    assert not faults(report)
    assert {one.name for one in report.checks if one.status == "skipped"} == {"boot", "golden"}
    assert (report.app, report.version) == ("colours", "1.2.0")
    assert report.digest == pristine.image.digest
    assert report.verdict == "skipped"
    with pytest.raises(VerificationIncomplete, match="2 checks skipped"):
        report.demand()


def test_every_name_of_the_image_verifies(pristine, tmp_path):
    assert not faults(verify(pristine.transport, pristine.image.digest))
    several = make_release(tmp_path / "several", index=True)
    assert several.image.digest != several.listed.platforms[0].digest
    for name in (TAG, *several.listed.digests):
        assert not faults(verify(several.transport, name)), name


def test_an_image_that_is_not_there(pristine):
    with pytest.raises(ImageNotFound):
        verify(pristine.transport, "v9.9.9-ort-cpu")


def all_blobs(release) -> list[str]:
    return sorted(
        f"sha256:{path.name}" for path in (release.transport.folder / "blobs/sha256").iterdir()
    )


def test_a_flipped_byte_in_any_blob_is_noticed(pristine, tmp_path):
    """Every blob of the layout: layers, manifests, configurations, documents, signatures."""
    unused = set()
    for number, digest in enumerate(all_blobs(pristine)):
        release = pristine.copy(tmp_path / str(number))
        flip(release, digest, len(release.blob(digest).read_bytes()) // 2)
        report = verify(release.transport)
        if report.verdict != "failed":
            unused.add(digest)
        shutil.rmtree(release.transport.folder)
    # What an append has replaced lies there still, and nothing points to it.
    referenced = json.dumps([path.read_text(errors="replace") for path in
                             (pristine.transport.folder / "blobs/sha256").iterdir()])  # fmt: skip
    index = (pristine.transport.folder / "index.json").read_text()
    assert not [digest for digest in unused if digest in referenced or digest in index]


def test_a_flipped_byte_names_the_layer(release):
    flip(release, release.listed.platforms[0].layers[1])
    found = faults(verify(release.transport))
    assert "layer 2 of linux/amd64" in found["blobs"]
    with pytest.raises(VerificationFailed, match="do not run it"):
        verify(release.transport).demand()


def test_a_missing_blob(release):
    release.blob(release.listed.platforms[0].layers[0]).unlink()
    assert "layer 1 of linux/amd64" in faults(verify(release.transport))["blobs"]


def test_the_manifest_itself_is_damaged(release):
    flip(release, release.image.digest, 10)
    report = verify(release.transport)
    assert report.verdict == "failed"
    assert {one.status for one in report.checks[1:]} == {"skipped"}


def test_a_wrong_key(pristine):
    found = faults(verify(pristine.transport, whom=trust(OTHER_KEY)))
    assert set(found) == {"release", "signatures"}
    for words in found.values():
        assert "0 of 1 required keys" in words
        assert "a key that is not among those given" in words


def test_what_nobody_has_signed_is_not_repeated(release):
    """App and version of a manifest whose signature does not count are anybody's words."""
    lie = msgspec.structs.replace(release.created.release, app="passed", version="9.9.9")
    attach(
        release.transport,
        encode(lie),
        artifact_type=RELEASE,
        media_type=RELEASE,
        tag="v1.2.0-release",
    )
    report = verify(release.transport)
    assert "is not signed" in faults(report)["release"]
    assert (report.app, report.version, report.release_digest) == ("colours", "1.2.0", "")
    assert not any("9.9.9" in one.detail for one in report.checks)
    stranger = verify(release.transport, whom=trust(OTHER_KEY))
    assert (stranger.app, stranger.version) == ("", "")


def test_nothing_of_a_stranger_is_unpacked(pristine, monkeypatch):
    def unpack(*_):
        raise AssertionError("a layer was unpacked")

    monkeypatch.setattr("enginecrate.release.verify.blobs.read_platform", unpack)
    report = verify(pristine.transport, whom=trust(OTHER_KEY))
    rows = {one.name: one for one in report.checks}
    for row in ("blobs", "sbom", "plans", "hardening"):
        assert rows[row].status == "skipped"
        assert "it was not unpacked" in rows[row].detail
    with pytest.raises(AssertionError, match="unpacked"):
        verify(pristine.transport)


def test_another_app_of_the_same_vendor(pristine):
    def asked_for(app: str):
        options = VerifyOptions(app=app, audit=True)
        return faults(verify_image(pristine.transport, TAG, trust(), options))

    assert not asked_for("colours")
    assert asked_for("shapes") == {
        "release": "this is a release of colours, and shapes was asked for: another app lies under "
        "this name"
    }


def test_an_unsigned_image(tmp_path):
    transport = Layout(tmp_path / "layout", create=True)
    add_image(transport)
    found = faults(verify(transport))
    assert "the image is not signed" in found["signatures"]
    assert "there is no release manifest v1.2.0-release" in found["release"]


def test_a_release_that_nobody_signed(tmp_path):
    transport = Layout(tmp_path / "layout", create=True)
    add_image(transport)
    create_release(transport, [release_image(transport)], [])
    found = faults(verify(transport))
    assert "the release manifest v1.2.0-release is not signed" in found["release"]
    assert "the image is not signed" in found["signatures"]
    assert set(found) == {"release", "signatures"}


def test_more_signers_than_there_are(pristine, tmp_path):
    found = faults(verify(pristine.transport, whom=trust(KEY, OTHER_KEY, require=2)))
    assert "1 of 2 required keys have signed the image" in found["signatures"]
    both = make_release(tmp_path / "both", [KEY, OTHER_KEY])
    assert not faults(verify(both.transport, whom=trust(KEY, OTHER_KEY, require=2)))
    sound = pristine.copy(tmp_path / "later")
    created = sound.created
    sign_release(sound.transport, created.descriptor, created.release, [OTHER_KEY])
    assert not faults(verify(sound.transport, whom=trust(KEY, OTHER_KEY, require=2)))


def test_one_key_twice_is_one_signer(pristine):
    whom = Trust(keys=(TrustedKey(key=KEY.public, name="a"),), require=2)
    assert "1 of 2" in faults(verify(pristine.transport, whom=whom))["signatures"]


def test_a_revoked_key(pristine):
    entry = TrustedKey(key=KEY.public, name="old", revoked="laptop stolen")
    whom = Trust(keys=(entry, TrustedKey(key=OTHER_KEY.public, name="new")))
    found = faults(verify(pristine.transport, whom=whom))
    for row in ("release", "signatures"):
        assert "is revoked: laptop stolen" in found[row]


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        ({"valid_from": "1.2.0", "valid_until": "1.2.0"}, ""),
        ({"valid_until": "1.9.0"}, ""),
        ({"valid_until": "1.1.9"}, "is valid until 1.1.9, and this is 1.2.0"),
        ({"valid_from": "2.0.0"}, "is valid from 2.0.0, and this is 1.2.0"),
        ({"valid_from": "1.2.0-rc.1"}, ""),
    ],
)
def test_rotation(pristine, limits, words):
    whom = Trust(keys=(TrustedKey(key=KEY.public, name="old", **limits),))
    found = faults(verify(pristine.transport, whom=whom))
    assert words in found.get("signatures", "")
    assert bool(found) == bool(words)


def test_an_old_key_under_a_release_manifest_of_a_new_version(release):
    """The image says an old version, so that the key may count: the manifest decides."""
    lie = msgspec.structs.replace(release.created.release, version="9.9.9")
    made = attach(
        release.transport,
        encode(lie),
        artifact_type=RELEASE,
        media_type=RELEASE,
        tag="v1.2.0-release",
    )
    sign_image(release.transport, made, [KEY], REPOSITORY)
    whom = Trust(keys=(TrustedKey(key=KEY.public, name="old", valid_until="1.9.0"),))
    report = verify(release.transport, whom=whom)
    assert "is valid until 1.9.0, and this is 9.9.9" in faults(report)["release"]
    assert (report.version, report.release_digest) == ("1.2.0", "")


@pytest.mark.parametrize("kind", ["sbom-cyclonedx", "sbom-spdx", "provenance", "evidence-accuracy"])
def test_a_removed_attachment(release, kind):
    remove_from_index(release.transport, release.attachment(kind).manifest)
    found = faults(verify(release.transport))
    assert f"{kind} of" in found["attachments"]
    assert "was removed" in found["attachments"]


def test_a_swapped_sbom(release):
    listed = release.attachment("sbom-cyclonedx")
    remove_from_index(release.transport, listed.manifest)
    other = attach(
        release.transport, b'{"bomFormat": "CycloneDX"}', artifact_type=CYCLONEDX,
        media_type=CYCLONEDX, subject=release.image, annotations={KIND: "sbom-cyclonedx"},
    )  # fmt: skip
    found = faults(verify(release.transport))
    assert "sbom-cyclonedx" in found["attachments"]
    assert "was swapped" in found["attachments"]
    assert listed.manifest in found["attachments"]
    assert other.digest in found["attachments"]


def test_more_attachments_than_listed_are_no_fault(release):
    """Whoever may push can attach something, sound or not."""
    kind = "application/vnd.example+json"
    for artifact_type in (kind, BUNDLE):
        attached = attach(
            release.transport, artifact_type.encode(), artifact_type=artifact_type, media_type=kind,
            subject=release.image,
        )  # fmt: skip
        manifest = decode(
            release.transport.read_manifest(Digest(attached.digest)), ImageManifest, ""
        )
        release.blob(manifest.layers[0].digest).unlink()
    bare = Descriptor(
        media_type=release.image.media_type, digest=release.image.digest, size=release.image.size
    )
    index = ImageIndex(manifests=(), artifact_type=kind, subject=bare)
    release.transport.write_manifest(encode(index), INDEX)
    report = verify(release.transport)
    assert not faults(report)
    assert "2 more are attached, which no signed release lists: not read" in next(
        one.detail for one in report.checks if one.name == "blobs"
    )


def test_a_broken_signature_beside_a_good_one_is_no_fault(release):
    transport, tag = release.transport, f"sha256-{release.image.digest[7:]}.sig"
    found = transport.resolve(tag)
    manifest = decode(transport.read_manifest(Digest(found.digest)), ImageManifest, "")
    missing = msgspec.structs.replace(manifest.layers[0], digest=Digest.of(b"not there"))
    more = msgspec.structs.replace(manifest, layers=(*manifest.layers, missing))
    transport.write_manifest(encode(more), found.media_type, [tag])
    assert not faults(verify(transport))


@pytest.mark.parametrize(
    "predicate", ["https://slsa.dev/provenance/v1", "https://sigstore.dev/cosign/sign/v1"]
)
def test_a_removed_bundle(release, predicate):
    removed = [
        one.digest
        for one in release.transport.referrers(Digest(release.image.digest))
        if one.annotations.get("dev.sigstore.bundle.predicateType") == predicate
    ]
    remove_from_index(release.transport, removed[0])
    found = faults(verify(release.transport))
    row = "signatures" if "cosign" in predicate else "statements"
    assert "is not signed" in found[row]


def test_a_removed_sig_tag(release):
    tag = f"sha256-{release.image.digest[7:]}.sig"
    remove_from_index(release.transport, release.transport.resolve(tag).digest)
    found = faults(verify(release.transport))
    assert found == {
        "signatures": "the image is not signed: there is no signature under the tag "
        "sha256-<hex>.sig"
    }


def replay(release, other: str) -> None:
    """Give the signatures of another image to this one."""
    transport, mine = release.transport, release.image
    source = transport.resolve(f"sha256-{other[7:]}.sig")
    data = transport.read_manifest(Digest(source.digest))
    transport.write_manifest(data, source.media_type, [f"sha256-{mine.digest[7:]}.sig"])
    for one in transport.referrers(Digest(other)):
        manifest = decode(transport.read_manifest(Digest(one.digest)), ImageManifest, "bundle")
        if "sigstore" in one.artifact_type:
            moved = msgspec.structs.replace(manifest, subject=mine)
            transport.write_manifest(encode(moved), one.media_type)


def test_replayed_signatures_of_another_image(tmp_path):
    transport = Layout(tmp_path / "layout", create=True)
    other = add_image(transport, "v1.1.0-ort-cpu", version="1.1.0")
    create_release(transport, [release_image(transport, "v1.1.0-ort-cpu")], [KEY])
    mine = make_release(tmp_path / "layout", [])
    replay(mine, other.digest)
    found = faults(verify(transport))
    assert f"but for {other.digest}: it was copied from there" in found["signatures"]
    assert "0 of 1" in found["signatures"]


def test_an_archive_that_podman_reads_otherwise(release, tmp_path):
    """`podman load` follows manifest.json, and not index.json."""
    file, evil = tmp_path / "app.tar", tmp_path / "evil.tar"
    save(release.transport, [TAG, "v1.2.0-release"], file, repository=REPOSITORY)
    assert not faults(verify(Archive(file)))
    with tarfile.open(file) as source, tarfile.open(evil, "w") as target:
        for member in source:
            data = source.extractfile(member)
            content = data.read() if data else b""
            if member.name == "manifest.json":
                listed = json.loads(content)
                listed[0]["Layers"] = listed[0]["Layers"][:-1]
                content = json.dumps(listed).encode()
                member.size = len(content)
            target.addfile(member, io.BytesIO(content))
    assert "manifest.json has another image" in faults(verify(Archive(evil)))["reference"]


def test_a_moved_tag(release):
    moved = add_image(release.transport, TAG, layers=[app_files(), plan_files(b"another plan")])
    found = faults(verify(release.transport))
    assert f"the tag {TAG} was moved: it names {moved.digest}" in found["release"]
    assert release.image.digest in found["release"]
    assert "is not signed" in found["signatures"]


def test_an_extra_layer(release):
    layers = [base_files(), app_files(), plan_files(), [Item("usr/bin/backdoor", b"evil")]]
    added = add_image(release.transport, TAG, layers=layers)
    assert "is not signed" in faults(verify(release.transport))["signatures"]
    sign_image(release.transport, added, [KEY], REPOSITORY)
    found = faults(verify(release.transport))
    extra = decode(release.transport.read_manifest(Digest(added.digest)), ImageManifest, "").layers[
        -1
    ]
    assert f"the layer {extra.digest} is not in the signed release" in found["blobs"]


def test_a_layer_more_than_the_configuration_names(release):
    transport = release.transport
    manifest = decode(transport.read_manifest(Digest(release.image.digest)), ImageManifest, "")
    more = msgspec.structs.replace(manifest, layers=(*manifest.layers, manifest.layers[0]))
    sign_image(
        transport,
        transport.write_manifest(encode(more), release.image.media_type, [TAG]),
        [KEY],
        REPOSITORY,
    )
    assert "has 4 layers, and its configuration names 3" in faults(verify(transport))["blobs"]


def test_layers_that_change_places(release):
    transport = release.transport
    manifest = decode(transport.read_manifest(Digest(release.image.digest)), ImageManifest, "")
    turned = msgspec.structs.replace(manifest, layers=manifest.layers[::-1])
    sign_image(
        transport,
        transport.write_manifest(encode(turned), release.image.media_type, [TAG]),
        [KEY],
        REPOSITORY,
    )
    assert "layer 1 of linux/amd64 unpacks to" in faults(verify(transport))["blobs"]


def test_an_older_release_manifest(release, tmp_path):
    """Rolled back to the manifest of version 1.1.0, which is genuine."""
    transport = release.transport
    add_image(transport, "v1.1.0-ort-cpu", version="1.1.0")
    older = create_release(transport, [release_image(transport, "v1.1.0-ort-cpu")], [KEY])
    data = transport.read_manifest(Digest(older.descriptor.digest))
    transport.write_manifest(data, older.descriptor.media_type, ["v1.2.0-release"])
    found = faults(verify(transport))
    assert "is the manifest of another or of an older release" in found["release"]
    assert (
        "is the release of the version 1.1.0, and the image is of the version 1.2.0"
        in (found["release"])
    )


def test_an_earlier_manifest_of_the_same_version(tmp_path):
    transport = Layout(tmp_path / "layout", create=True)
    first = add_image(transport, layers=[base_files(), app_files(), plan_files(b"first")])
    create_release(transport, [release_image(transport)], [KEY])
    earlier = transport.read_manifest(Digest(transport.resolve("v1.2.0-release").digest))
    second = add_image(transport)
    created = create_release(transport, [release_image(transport)], [KEY])
    assert created.replaced
    assert not faults(verify(transport))
    transport.write_manifest(earlier, created.descriptor.media_type, ["v1.2.0-release"])
    found = faults(verify(transport))
    assert f"the tag {TAG} was moved: it names {second.digest}" in found["release"]
    assert first.digest in found["release"]


def test_a_release_manifest_that_was_asked_for(tmp_path):
    """An earlier genuine manifest of the same version is noticed by its digest alone."""
    made = make_release(tmp_path / "layout")
    earlier = made.created.descriptor.digest
    more = documents(made.image.digest)[:3]
    later = create_release(made.transport, [ReleaseImage(TAG, {made.image.digest: more})], [KEY])
    assert verify(made.transport).release_digest == later.descriptor.digest

    def asked_for(digest: str) -> dict[str, str]:
        options = VerifyOptions(release_digest=digest, audit=True)
        return faults(verify_image(made.transport, TAG, trust(), options))

    assert not asked_for(later.descriptor.digest)
    found = asked_for(earlier)["release"]
    assert f"v1.2.0-release is {later.descriptor.digest}, and {earlier} was asked for" in found


def test_a_release_of_another_app(tmp_path):
    transport = Layout(tmp_path / "layout", create=True)
    mine = add_image(transport)
    created = create_release(transport, [release_image(transport)], [KEY])
    lie = msgspec.structs.replace(created.release, app="shapes")
    descriptor, _ = write_release(transport, lie)
    sign_release(transport, descriptor, lie, [KEY])
    found = faults(verify(transport, mine.digest))
    assert (
        "is the release of the app shapes, and the image is of the app colours"
        in (found["release"])
    )


def test_another_artifact_under_the_tag_of_the_release(release):
    lie = attach(
        release.transport, b"{}", artifact_type="application/json", media_type="application/json",
        tag="v1.2.0-release",
    )  # fmt: skip
    sign_image(release.transport, lie, [KEY], REPOSITORY)
    assert "not a release manifest" in faults(verify(release.transport))["release"]


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"[]", b"null", b"\xff\xfe", b"[" * 100_000, b'{"format": 2}']
)
def test_a_malformed_release_manifest(release, data):
    lie = attach(
        release.transport, data, artifact_type=RELEASE, media_type=RELEASE, tag="v1.2.0-release"
    )
    assert "is not signed" in faults(verify(release.transport))["release"]
    sign_image(release.transport, lie, [KEY], REPOSITORY)
    assert "is not a release manifest" in faults(verify(release.transport))["release"]


def with_documents(tmp_path, made: list):
    transport = Layout(tmp_path / "layout", create=True)
    image = add_image(transport)
    create_release(transport, [ReleaseImage(TAG, {image.digest: made})], [KEY])
    return transport


def test_a_statement_about_another_image(tmp_path):
    other = "sha256:" + "0" * 64
    transport = with_documents(tmp_path, documents(other))
    found = faults(verify(transport))
    assert f"is about {other}, not this image" in found["statements"]


def test_an_sbom_that_names_other_packages(tmp_path):
    transport = Layout(tmp_path / "layout", create=True)
    image = add_image(transport)
    purls = ("pkg:deb/debian/libc6@2.36-9%2Bdeb12u10", "pkg:pypi/evil@1.0")
    create_release(
        transport, [ReleaseImage(TAG, {image.digest: documents(image.digest, purls)})], [KEY]
    )
    found = faults(verify(transport))["sbom"]
    assert "sbom-cyclonedx does not name what the image holds: deb/zlib1g" in found
    assert "sbom-spdx names what the image does not hold: pypi/evil 1.0" in found


def test_a_release_without_an_sbom(tmp_path):
    transport = Layout(tmp_path / "layout", create=True)
    image = add_image(transport)
    create_release(transport, [ReleaseImage(TAG, {image.digest: ()})], [KEY])
    assert "lists no SBOM" in faults(verify(transport))["sbom"]


def test_plans_and_files_that_the_release_lists_otherwise(release):
    """A vendor's own mistake, or a stolen key: the manifest is signed, and does not fit."""
    transport, created = release.transport, release.created
    image = created.release.images[0]
    platform = image.platforms[0]
    plan = msgspec.structs.replace(platform.plans[0], digest="sha256:" + "1" * 64)
    changed = msgspec.structs.replace(platform, plans=(plan,))
    lie = msgspec.structs.replace(
        created.release,
        manifest="sha256:" + "2" * 64,
        images=(msgspec.structs.replace(image, platforms=(changed,)),),
    )
    descriptor, _ = write_release(transport, lie)
    sign_release(transport, descriptor, lie, [KEY])
    found = faults(verify(transport))["plans"]
    assert "the plan abc of linux/amd64 was swapped" in found
    assert "enginecrate.toml in the image is" in found


@pytest.mark.parametrize("what", ["plans", "extra"])
def test_plans_that_are_missing_or_too_many(release, what):
    transport, created = release.transport, release.created
    image = created.release.images[0]
    platform = image.platforms[0]
    plans = () if what == "plans" else (
        *platform.plans, msgspec.structs.replace(platform.plans[0], key="xyz")
    )  # fmt: skip
    lie = msgspec.structs.replace(
        created.release,
        images=(msgspec.structs.replace(
            image, platforms=(msgspec.structs.replace(platform, plans=plans),)),),
    )  # fmt: skip
    descriptor, _ = write_release(transport, lie)
    sign_release(transport, descriptor, lie, [KEY])
    words = "is not in the signed release" if what == "plans" else "is missing from the image"
    assert words in faults(verify(transport))["plans"]


def test_a_hardening_rule_that_is_broken(tmp_path):
    root = make_release(tmp_path / "layout", config=ContainerConfig(user="0:0"))
    found = faults(verify(root.transport))
    assert list(found) == ["hardening"]
    assert "EC-IMG-001" in found["hardening"]
    without = verify_image(root.transport, TAG, trust(), VerifyOptions())
    assert [one.status for one in without.checks if one.name == "hardening"] == ["skipped"]
    assert not faults(without)


def test_a_signature_by_a_key_nobody_knows_beside_a_good_one(release):
    stranger = make_key()
    sign_release(release.transport, release.created.descriptor, release.created.release, [stranger])
    assert not faults(verify(release.transport))


def test_a_statement_is_one_of_the_documents(pristine):
    assert statement(pristine.image.digest) in [
        one.data for one in documents(pristine.image.digest)
    ]


def test_libraries_inside_of_wheels_are_no_installed_packages():
    """A wheel may bring a copy of a package, in both formats of SBOMs."""
    wheel, inner = "pkg:pypi/pillow@12.0", "pkg:pypi/packaging@24.0"
    vendored = {"name": "io.enginecrate.kind", "value": "vendored"}
    cyclonedx = {
        "components": [
            {"purl": wheel, "properties": [{"name": "io.enginecrate.kind", "value": "wheel"}]},
            {"purl": inner, "properties": [vendored]},
        ]
    }
    packages = [
        {"SPDXID": name, "externalRefs": [{"referenceLocator": purl}]}
        for name, purl in (("image", "pkg:oci/app@1"), ("wheel", wheel), ("inner", inner))
    ]
    relations = [
        {"spdxElementId": source, "relationshipType": "CONTAINS", "relatedSpdxElement": target}
        for source, target in (("image", "wheel"), ("wheel", "inner"))
    ]
    spdx = {"packages": packages, "relationships": relations}
    for document in (cyclonedx, spdx):
        assert named_packages(json.dumps(document).encode(), "bom") == {"pypi/pillow 12.0"}
    assert named_packages(json.dumps({"packages": packages}).encode(), "bom") == {
        "pypi/pillow 12.0", "pypi/packaging 24.0",
    }  # fmt: skip
