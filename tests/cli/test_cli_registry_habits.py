"""Commands against registries that cannot be run here; docs/registry.md lists them."""

import json
import os
import tarfile
from pathlib import Path

import pytest

from enginecrate.image.formats.oci import MANIFEST
from enginecrate.image.transports.layout import Layout
from enginecrate.values import Digest
from modern_registry import INDEX, ModernRegistry, modern_registry
from small_images import SIGNATURE_TYPE, add_cosign, add_image, add_index, attach, noise

MIB = 1 << 20


@pytest.fixture(autouse=True)
def _own_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No test sees the developer's own logins and proxies."""
    prefixes = ("XDG_", "DOCKER_", "REGISTRY_")
    for name in list(os.environ):
        if name.startswith(prefixes) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """An image with three attachments, one of which has an attachment, and a cosign tag."""
    layout = Layout(tmp_path / "layout", create=True)
    image = add_image(layout, ["v1.2.0"])
    sbom = attach(layout, image, b"sbom")
    attach(layout, image, b"provenance")
    attach(layout, image, b"signature", SIGNATURE_TYPE)
    attach(layout, sbom, b"signature of the sbom", SIGNATURE_TYPE)
    add_cosign(layout, image)
    return layout


def attached(folder: Path, name: str = "v1.2.0") -> set[str]:
    """The digests of what is attached to an image of a layout."""
    layout = Layout(folder)
    return {one.digest for one in layout.referrers(Digest(layout.resolve(name).digest))}


@pytest.mark.parametrize(
    "habits", ["gitlab", "artifactory", "quay", "denying", "unimplemented", "harbor-immutable"]
)
def test_an_image_with_attachments_goes_there_and_comes_back(run, layout, tmp_path, habits):
    with modern_registry(habits) as registry:
        target = f"{registry.address}/isv/app"
        assert run("image", "push", layout.folder, target).code == 0
        done = run("image", "copy", f"{target}:v1.2.0", f"oci:{tmp_path / 'back'}")
        assert done.code == 0, done.err
        saved = run("image", "save", f"{target}:v1.2.0", tmp_path / "app.tar")
        assert saved.code == 0, saved.err
        audited = run("audit", f"{target}:v1.2.0", "--fail-on", "never")
        assert audited.code == 0, audited.err
        shown = run("image", "show", f"{target}:v1.2.0")
        assert shown.code == 0, shown.err
        verified = run("verify", f"{target}:v1.2.0", "--no-boot")
        assert "EC0001" not in verified.err
    assert len(attached(layout.folder)) == 3
    assert attached(tmp_path / "back") == attached(layout.folder)


@pytest.mark.parametrize("platforms", [1, 2])
def test_gitlab_takes_the_tag_of_a_list_for_the_image(run, layout, tmp_path, platforms):
    other = Layout(tmp_path / "other", create=True)
    add_index(other, ["v1.2.0"], ("amd64", "arm64")[:platforms])
    with modern_registry("gitlab") as registry:
        target = f"{registry.address}/isv/app"
        assert run("image", "push", other.folder, target).code == 0
        copied = run("image", "copy", f"{target}:v1.2.0", f"oci:{tmp_path / 'back'}")
        assert copied.code == 0, copied.err
    back = Layout(tmp_path / "back")
    assert back.resolve("v1.2.0") == other.resolve("v1.2.0")
    assert attached(back.folder) == set()


@pytest.mark.parametrize(
    "habits", ["harbor-immutable", "ecr-immutable", "hub-immutable", "conflict-immutable"]
)
def test_immutable_tags_are_written_once(run, layout, habits):
    with modern_registry(habits) as registry:
        target = f"{registry.address}/isv/app"
        done = run("image", "push", layout.folder, target)
        assert done.code == 0, done.err
        lists = [tag for tag in registry.written if tag.startswith("sha256-")]
        assert len(lists) == len(set(lists)) == 3  # of the image, of its SBOM, and cosign's
        assert "v1.2.0" in registry.written
        before = list(registry.written)
        done = run("image", "push", layout.folder, target)  # there is nothing to write
        assert done.code == 0, done.err
        assert registry.written == before
        image = layout.resolve("v1.2.0")
        attach(layout, image, b"later")
        late = run("image", "push", layout.folder, target)
        assert late.code, late.err
        assert "EC1811" in late.err
        assert "exclude sha256-*" in " ".join(late.err.split())
        assert "--no-referrers" in late.err
        assert run("image", "push", layout.folder, target, "--no-referrers").code == 0


def test_a_cosign_tag_that_grows_where_tags_are_immutable(run, layout):
    with modern_registry("harbor-immutable") as registry:
        target = f"{registry.address}/isv/app"
        assert run("image", "push", layout.folder, target).code == 0
        add_cosign(layout, layout.resolve("v1.2.0"), b'{"another": "signature"}')
        late = run("image", "push", layout.folder, target)
        assert late.code
        assert "exclude sha256-*" in " ".join(late.err.split())


def test_an_own_tag_that_cannot_be_overwritten(run, layout):
    with modern_registry("ecr-immutable") as registry:
        target = f"{registry.address}/isv/app"
        assert run("image", "push", f"{layout.folder}:v1.2.0", target, "--tag", "v1").code == 0
        add_image(layout, ["v1.3.0"], files={"new": b"new"})
        late = run("image", "push", f"{layout.folder}:v1.3.0", target, "--tag", "v1")
        assert "EC1811" in late.err
        assert "choose another tag" in " ".join(late.err.split())


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A layout with two large layers."""
    layout = Layout(tmp_path_factory.mktemp("large") / "layout", create=True)
    for number in (1, 2):
        add_image(layout, [f"v{number}"], files={"data": noise(18 * MIB, number)})
    return layout.folder


@pytest.mark.parametrize("habits", ["ghcr", "small-requests"])
def test_a_limit_on_pieces_is_found_out_once(run, large, habits):
    with modern_registry(habits) as registry:
        done = run("image", "push", large, f"{registry.address}/isv/app")
        assert done.code == 0, done.err
        stored = sum(map(len, registry.blobs.values()))
        assert stored > 36 * MIB
        assert registry.received - stored <= 16 * MIB  # one piece, and not one for each blob


def test_a_limit_on_requests_for_blobs_below_the_size_of_a_piece(run, tmp_path):
    layout = Layout(tmp_path / "middle", create=True)
    add_image(layout, ["v1"], files={"data": noise(6 * MIB)})
    with modern_registry("small-requests") as registry:
        done = run("image", "push", layout.folder, f"{registry.address}/isv/app")
        assert done.code == 0, done.err
        assert registry.received < 13 * MIB


@pytest.mark.parametrize("cut", [1 << 62, 17 * MIB])
def test_a_count_that_stands_still_is_not_believed(run, large, cut):
    with modern_registry("ecr", cut_at=cut) as registry:
        done = run("image", "push", large, f"{registry.address}/isv/app")
        assert done.code == 0, done.err
        assert sum(map(len, registry.blobs.values())) > 36 * MIB


def test_a_registry_without_attachments_says_how_to_leave_them_out(run, layout):
    with modern_registry("no-subjects") as registry:
        target = f"{registry.address}/isv/app"
        done = run("image", "push", layout.folder, target)
        assert done.code
        assert "--no-referrers" in done.err
        assert "operator" not in done.err
        assert run("image", "push", layout.folder, target, "--no-referrers").code == 0


PLACES = [
    (transport, part)
    for transport in ("layout", "archive", "registry")
    for part in ("index.json", "platform", "config", "layers")
    if (transport, part) != ("registry", "index.json")  # it has none
]


@pytest.mark.parametrize(("transport", "part"), PLACES)
def test_a_wrong_size_is_noticed(run, tmp_path, transport, part):
    layout = Layout(tmp_path / "source", create=True)
    plant_a_wrong_size(layout, part)
    with modern_registry() as registry:
        reference = f"oci:{layout.folder}:v1"
        if transport == "archive":
            reference = f"oci-archive:{archive_of(layout, tmp_path / 'app.tar')}:v1"
        elif transport == "registry":
            put_into(layout, registry)
            reference = f"{registry.address}/isv/app:v1"
        for words in (["audit", reference], ["image", "copy", reference, f"oci:{tmp_path / 'to'}"]):
            done = run(*words)
            assert done.code not in (0, 70), (words, done.out)
            assert "size" in done.err or "bytes" in done.err


def plant_a_wrong_size(layout: Layout, part: str) -> None:
    image = add_image(layout, ["v1"])
    manifest = json.loads(layout.read_manifest(Digest(image.digest)))
    if part == "platform":
        platform = {"os": "linux", "architecture": "amd64"}
        listed = {"mediaType": image.media_type, "digest": image.digest, "platform": platform}
        index = {"schemaVersion": 2, "manifests": [{**listed, "size": image.size + 1}]}
        layout.write_manifest(json.dumps(index).encode(), INDEX, ["v1"])
    elif part == "index.json":
        path = layout.folder / "index.json"
        index = json.loads(path.read_text())
        index["manifests"][0]["size"] += 1
        path.write_text(json.dumps(index))
    else:
        found = manifest[part][0] if part == "layers" else manifest[part]
        found["size"] += 1
        layout.write_manifest(json.dumps(manifest).encode(), image.media_type, ["v1"])


def archive_of(layout: Layout, path: Path) -> Path:
    with tarfile.open(path, "w") as tar:
        for file in sorted(one for one in layout.folder.rglob("*") if one.is_file()):
            tar.add(file, file.relative_to(layout.folder))
    return path


def put_into(layout: Layout, registry: ModernRegistry) -> None:
    for path in (layout.folder / "blobs/sha256").iterdir():
        digest, data = f"sha256:{path.name}", path.read_bytes()
        registry.blobs[digest] = data
        if b"schemaVersion" in data:
            registry.manifests[digest] = (INDEX if b'"manifests"' in data else MANIFEST, data)
    registry.tags["v1"] = layout.resolve("v1").digest
