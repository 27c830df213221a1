"""The sample's image as a release: sound wherever it lies, and no tampering stays unnoticed."""

import hashlib
import json
import os
import random
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from containers import Registry
from enginecrate.image.formats.oci import INDEX, MANIFEST, REF_NAME, ImageManifest, decode
from enginecrate.image.recipe.tags import release_tag
from enginecrate.image.transports.base import ImageSource
from enginecrate.image.transports.copy import copy_image
from enginecrate.image.transports.layout import Layout
from enginecrate.image.transports.reference import open_target, open_transport
from enginecrate.release.create.release import sign_release
from enginecrate.release.documents.artifacts import attach
from enginecrate.release.keys.key_files import load_private_key, load_public_key
from enginecrate.release.keys.trust_file import Trust
from enginecrate.release.manifest import ReleaseManifest, read_release
from enginecrate.release.verify.verification import CHECKS, verify_image
from enginecrate.values import Digest
from sample_image import TAG, run_program

pytestmark = pytest.mark.timeout(480)  # the first test waits for the image, too
PASSPHRASE = "correct horse battery staple"
RELEASE_TAG = "v1.0.0-release"


@dataclass(frozen=True)
class Shop:
    """The release in its layout, in a registry, and its keys."""

    folder: Path
    layout: Path
    repository: str
    registry: Registry

    @property
    def reference(self) -> str:
        return f"{self.repository}:{TAG}"

    @property
    def key(self) -> Path:
        return self.folder / "isv.pub"

    @property
    def release(self) -> ReleaseManifest:
        return read_release(Layout(self.layout), RELEASE_TAG)[1]

    def transport(self) -> ImageSource:
        return open_target(self.reference)[0]

    def stored(self, digest: str) -> Path:
        """Where the registry keeps a blob."""
        text = digest.removeprefix("sha256:")
        return self.registry.storage / f"docker/registry/v2/blobs/sha256/{text[:2]}/{text}/data"

    def tag(self, name: str) -> tuple[bytes, str]:
        """The manifest that a tag names, with its media type."""
        answer = httpx.get(self._address(name), headers={"Accept": f"{MANIFEST}, {INDEX}"})
        answer.raise_for_status()
        return answer.content, answer.headers["Content-Type"]

    def write_tag(self, name: str, data: bytes, kind: str) -> None:
        httpx.put(
            self._address(name), content=data, headers={"Content-Type": kind}
        ).raise_for_status()

    @contextmanager
    def moved(self, name: str, data: bytes) -> Iterator[None]:
        """The tag names another manifest."""
        original, kind = self.tag(name)
        self.write_tag(name, data, kind)
        try:
            yield
        finally:
            self.write_tag(name, original, kind)

    @contextmanager
    def without(self, name: str) -> Iterator[None]:
        """The tag is gone from the registry's storage."""
        repository = self.repository.removeprefix(f"{self.registry.address}/")
        tags = self.registry.storage / "docker/registry/v2/repositories" / repository
        link = tags / "_manifests/tags" / name
        hidden = link.with_name(f"{name}.hidden")
        link.rename(hidden)
        try:
            yield
        finally:
            hidden.rename(link)

    def _address(self, name: str) -> str:
        repository = self.repository.removeprefix(f"{self.registry.address}/")
        return f"{self.registry.url}/v2/{repository}/manifests/{name}"


@pytest.fixture(scope="session")
def shop(built_image: Path, registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    folder = tmp_path_factory.mktemp("shop")
    layout = folder / "image"
    linked(built_image, layout)
    secret = {"ENGINECRATE_KEY_PASSPHRASE": PASSPHRASE}
    for name in ("isv", "auditor"):
        run_program("keys", "new", folder / name, **secret)
    run_program(
        "release", "create", "--project", built_image.parents[1], "--layout", layout,
        "--key", folder / "isv.key", "--no-boot", **secret,
    )  # fmt: skip
    repository = f"{registry.address}/shop/detection"
    run_program("image", "push", layout, repository)
    return Shop(folder, layout, repository, registry)


@pytest.fixture(scope="session")
def archive(shop: Shop) -> Path:
    file = shop.folder / "app.tar"
    run_program("image", "save", shop.reference, file)
    return file


def linked(source: Path, target: Path) -> None:
    """A copy whose blobs are the same files: whoever changes one replaces it."""
    shutil.copytree(source, target, copy_function=os.link)
    for name in ("index.json", "oci-layout"):
        (target / name).unlink()
        shutil.copyfile(source / name, target / name)


def trusted(shop: Shop, name: str = "isv") -> Trust:
    return Trust.of([(name, load_public_key(shop.folder / f"{name}.pub"))], require=1)


def faults(shop: Shop, reference: str, key: str = "isv") -> dict[str, str]:
    """The rows that failed, with what they say."""
    transport, name = open_transport(reference)
    report = verify_image(transport, name, trusted(shop, key))
    found: dict[str, str] = {}
    for one in report.checks:
        if one.status == "failed":
            found[one.name] = f"{found.get(one.name, '')}{one.detail}\n"
    assert report.verdict == ("failed" if found else "skipped")
    return found


@contextmanager
def flipped(path: Path, position: int) -> Iterator[None]:
    """One bit of a file is another; the file is replaced, so that links to it stay sound."""
    original = path.with_name(f"{path.name}.sound")
    path.rename(original)
    data = bytearray(original.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)
    try:
        yield
    finally:
        original.replace(path)


def blobs(shop: Shop) -> dict[str, str]:
    """A digest of every kind of blob that the release has, each layer, and the fallback index."""
    release = shop.release
    (image,) = release.images
    (platform,) = image.platforms
    listed = {one.kind: one for one in image.attachments}
    found = {f"layer {number}": layer for number, layer in enumerate(platform.layers, 1)}
    found |= {"configuration": platform.config, "manifest": image.digest}
    found |= {"SBOM": listed["sbom-cyclonedx"].content, "SPDX": listed["sbom-spdx"].content}
    found |= {"statement": listed["provenance"].content}
    found |= {"attachment": listed["sbom-spdx"].manifest}
    transport = Layout(shop.layout)
    for name, digest in (
        ("image", image.digest),
        ("release", str(transport.resolve(RELEASE_TAG).digest)),
    ):
        signature = transport.resolve(f"sha256-{digest[7:]}.sig")
        found[f"signature of the {name}"] = str(signature.digest)
        bundles = [
            one for one in transport.referrers(Digest(digest)) if "sigstore" in one.artifact_type
        ]
        manifest = decode(
            transport.read_manifest(Digest(bundles[0].digest)), ImageManifest, "bundle"
        )
        found[f"bundle of the {name}"] = str(manifest.layers[0].digest)
    found["release manifest"] = str(transport.resolve(RELEASE_TAG).digest)
    content = decode(
        transport.read_manifest(Digest(found["release manifest"])), ImageManifest, "release"
    )
    return found | {"release content": str(content.layers[0].digest)}


KINDS = (
    *(f"layer {number}" for number in range(1, 7)), "configuration", "manifest", "SBOM", "SPDX",
    "statement", "attachment", "signature of the image", "bundle of the image",
    "signature of the release", "bundle of the release", "release manifest", "release content",
)  # fmt: skip


@pytest.mark.full
def test_sound_in_the_layout_and_boots(shop, podman):
    environment = {
        name: podman.environment[name] for name in ("CONTAINERS_CONF", "CONTAINERS_STORAGE_CONF")
    }
    done = run_program(
        "verify", f"oci:{shop.layout}:{TAG}", "--key", shop.key, "--json", **environment
    )
    report = json.loads(done.stdout)
    assert report["verdict"] == "passed"
    assert tuple(one["name"] for one in report["checks"]) == CHECKS


def test_sound_in_the_registry(shop):
    done = run_program("verify", shop.reference, "--key", shop.key, "--no-boot", check=False)
    assert (done.returncode, "FAILED" in done.stdout) == (11, False)
    assert "nothing is wrong, but not everything could be examined" in done.stderr


def test_a_wrong_key(shop):
    found = faults(shop, f"oci:{shop.layout}:{TAG}", "auditor")
    assert set(found) == {"release", "signatures"}
    assert all("a key that is not among those given" in words for words in found.values())


def test_kinds_are_those_of_the_release(shop):
    assert tuple(sorted(blobs(shop))) == tuple(sorted(KINDS))


@pytest.mark.full
def test_sound_in_the_file_and_in_another_registry(shop, archive):
    done = run_program("verify", archive, "--key", shop.key, "--no-boot", "--offline", check=False)
    assert (done.returncode, "FAILED" in done.stdout) == (11, False)
    other = f"{shop.registry.address}/site/apps"
    run_program("image", "load", archive, other)
    assert not faults(shop, f"{other}:{TAG}")


@pytest.mark.full
@pytest.mark.parametrize("kind", KINDS)
def test_a_flipped_byte_in_the_registry(shop, kind):
    digest = blobs(shop)[kind]
    path = shop.stored(digest)
    with flipped(path, path.stat().st_size // 2):
        done = run_program("verify", shop.reference, "--key", shop.key, "--no-boot", check=False)
    said = done.stdout + done.stderr
    # A damaged manifest ends it before there are rows: nothing in it can be judged.
    assert done.returncode == 1
    assert "VERIFICATION FAILED" in said or "its storage is damaged" in said
    assert digest in said or digest[7:19] in said
    assert "Traceback" not in said


@pytest.mark.full
def test_a_flipped_byte_in_the_index_of_referrers(shop):
    (image,) = shop.release.images
    data, _ = shop.tag(f"sha256-{image.digest[7:]}")
    path = shop.stored(f"sha256:{hashlib.sha256(data).hexdigest()}")
    with flipped(path, data.index(b"sha256:") + 10):
        found = faults(shop, shop.reference)
    assert found


@pytest.mark.full
@pytest.mark.parametrize("kind", KINDS)
def test_a_flipped_byte_in_the_file(shop, archive, tmp_path, kind):
    digest = blobs(shop)[kind]
    data = archive.read_bytes()
    start = data.index(f"blobs/sha256/{digest[7:]}".encode()) + 512
    changed = bytearray(data)
    changed[start + len(Layout(shop.layout).blob_path(Digest(digest)).read_bytes()) // 2] ^= 1
    file = tmp_path / "app.tar"
    file.write_bytes(changed)
    found = faults(shop, f"{file}:{TAG}")
    assert any(digest in words or digest[7:19] in words for words in found.values()), found


@pytest.mark.full
def test_a_flipped_byte_in_any_blob(shop, tmp_path):
    """Every blob of the layout, at a position that nobody chose."""
    layout = tmp_path / "image"
    linked(shop.layout, layout)
    chance = random.Random(20260101)
    everything = sorted((layout / "blobs" / "sha256").iterdir())
    assert len(everything) > 25
    unnoticed = []
    for path in everything:
        with flipped(path, chance.randrange(path.stat().st_size)):
            if not faults(shop, f"oci:{layout}:{TAG}"):
                unnoticed.append(path.name)
    assert not unnoticed


@pytest.mark.full
def test_each_referrer_removed_in_turn(shop):
    (image,) = shop.release.images
    subjects = (image.digest, str(Layout(shop.layout).resolve(RELEASE_TAG).digest))
    for subject in subjects:
        tag = f"sha256-{subject[7:]}"
        data, _ = shop.tag(tag)
        index = json.loads(data)
        for number, removed in enumerate(index["manifests"]):
            kept = [one for other, one in enumerate(index["manifests"]) if other != number]
            with shop.moved(tag, json.dumps(index | {"manifests": kept}).encode()):
                found = faults(shop, shop.reference)
            words = "".join(found.values())
            if "sigstore" in removed["artifactType"]:
                assert set(found) <= {"release", "signatures", "statements"}
                assert "as a sigstore bundle" in words or "is not signed" in words, words
            else:
                assert "was removed: the signed release lists" in found["attachments"]


@pytest.mark.full
@pytest.mark.parametrize("what", ["image", "release"])
def test_the_tag_with_signatures_removed(shop, what):
    (image,) = shop.release.images
    digests = {"image": image.digest, "release": Layout(shop.layout).resolve(RELEASE_TAG).digest}
    with shop.without(f"sha256-{digests[what][7:]}.sig"):
        found = faults(shop, shop.reference)
    row = "signatures" if what == "image" else "release"
    assert "under the tag sha256-<hex>.sig" in found[row]


@pytest.mark.full
def test_the_release_manifest_removed(shop):
    with shop.without(RELEASE_TAG):
        found = faults(shop, shop.reference)
    assert "there is no release manifest v1.0.0-release: it was removed" in found["release"]


@pytest.mark.full
@pytest.mark.parametrize("key", ["auditor", "isv"])
def test_a_swapped_sbom(shop, tmp_path, key):
    """The SBOM of another image, validly signed: by a stranger, and by the vendor himself."""
    layout = tmp_path / "image"
    linked(shop.layout, layout)
    transport = Layout(layout)
    descriptor, release = read_release(transport, RELEASE_TAG)
    (image,) = release.images
    (listed,) = [one for one in image.attachments if one.kind == "sbom-cyclonedx"]
    signer = load_private_key(shop.folder / f"{key}.key", PASSPHRASE.encode)
    remove(transport, listed.manifest)
    attach(
        transport, b'{"bomFormat":"CycloneDX","components":[]}', artifact_type=listed.artifact_type,
        media_type=listed.media_type, subject=transport.resolve(TAG),
        annotations={"io.enginecrate.kind": listed.kind},
    )  # fmt: skip
    sign_release(transport, descriptor, release, [signer])
    found = faults(shop, f"oci:{layout}:{TAG}")
    assert "was swapped: the signed release lists" in found["attachments"]


@pytest.mark.full
def test_a_moved_tag_and_an_older_release(shop, built_image, tmp_path):
    """The image and the release of 1.0.0 under the tags of 1.1.0."""
    repository = f"{shop.registry.address}/shop/moved"
    target, _ = open_target(f"{repository}:v1.1.0-ort-cpu")
    source = Layout(shop.layout)
    copy_image(source, TAG, target, ["v1.1.0-ort-cpu"])
    copy_image(source, RELEASE_TAG, target, [release_tag("1.1.0"), RELEASE_TAG])
    found = faults(shop, f"{repository}:v1.1.0-ort-cpu")
    assert "v1.1.0-ort-cpu promises something else" in found["release"]


def remove(transport: Layout, digest: str) -> None:
    path = transport.folder / "index.json"
    index = json.loads(path.read_bytes())
    kept = [one for one in index["manifests"] if one["digest"] != digest]
    assert len(kept) + 1 == len(index["manifests"])
    assert all(
        REF_NAME not in one.get("annotations", {}) for one in index["manifests"] if one not in kept
    )
    path.write_text(json.dumps(index | {"manifests": kept}))
