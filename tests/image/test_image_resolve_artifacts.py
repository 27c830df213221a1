"""The cache of packages: by content, checked, and enough for a second build without any source."""

import os
import re
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from containers import Registry
from enginecrate.errors import ArtifactChanged, ArtifactMissing, CacheUnusable, ImageInvalid
from enginecrate.image.oci import ImageManifest, decode, digest_of
from enginecrate.image.places.layout import Layout
from enginecrate.image.resolve import (
    INPUTS,
    ArtifactCache,
    PackageSources,
    StoredInputs,
    open_inputs,
    open_inputs_target,
    resolve_image,
    store_inputs,
)
from enginecrate.manifest import load_manifest
from enginecrate.stacks.catalog import get_stack
from enginecrate.stacks.lock import Lock, LockedImage
from enginecrate.values import Digest
from package_world import PackageWorld

PLATFORM = "linux/amd64"
SAMPLE = Path(__file__).parents[2] / "samples" / "detection"


@pytest.fixture(autouse=True)
def _only_these_sources(monkeypatch: pytest.MonkeyPatch, world: PackageWorld) -> None:
    for name, value in world.environment().items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def world(tmp_path: Path) -> PackageWorld:
    return PackageWorld(tmp_path / "sources")


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> LockedImage:
    """From sources like every test's own: their packages have the same bytes."""
    folder = tmp_path_factory.mktemp("resolving")
    world = PackageWorld(folder / "sources")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in world.environment().items():
            patch.setenv(name, value)
        manifest = load_manifest(SAMPLE).manifest
        cache = world.cache(folder / "cache")
        return resolve_image(get_stack("ort-cpu"), PLATFORM, manifest, cache=cache)


@pytest.fixture
def debs(image: LockedImage) -> LockedImage:
    """The Debian packages alone, for tests that need no pip."""
    return msgspec.structs.replace(image, wheels=())


def wheels_alone(image: LockedImage, *names: str) -> LockedImage:
    wheels = tuple(one for one in image.wheels if one.name in names)
    return msgspec.structs.replace(image, debs=(), wheels=wheels)


def unreachable(tmp_path: Path) -> PackageSources:
    """Sources that are configured, and that nobody reaches."""
    nowhere = tmp_path / "nowhere.list"
    nowhere.write_text("deb http://127.0.0.1:1/debian test main\n")
    return PackageSources(tmp_path / "unused", apt_sources=nowhere)


def test_a_second_build_asks_no_source(
    image: LockedImage, world: PackageWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    steps: list[tuple[str, int, int]] = []
    first = world.cache(tmp_path / "cache").obtain_all(image, lambda *step: steps.append(step))
    assert set(first) == {one.sha256 for one in image.packages}
    for sha256, path in first.items():
        assert path == tmp_path / "cache" / "artifacts" / "sha256" / sha256
        assert Digest.of_file(path).hex == sha256
    name = f"packages of ort-cpu for {PLATFORM}"
    assert steps[0] == (name, 0, len(image.packages))
    assert steps[-1] == (name, len(image.packages), len(image.packages))
    monkeypatch.setenv("PATH", "")  # not even the tools are there
    nowhere = ArtifactCache(tmp_path / "cache", sources=unreachable(tmp_path))
    assert nowhere.obtain_all(image) == first
    assert nowhere.obtain(image.wheels[0], PLATFORM) == first[image.wheels[0].sha256]
    assert not list((tmp_path / "cache" / "artifacts").glob("fetch-*"))


def test_a_damaged_file_is_fetched_again(debs: LockedImage, world: PackageWorld, tmp_path: Path):
    cache = world.cache(tmp_path / "cache")
    cache.obtain_all(debs)
    path = cache.path(debs.debs[0])
    path.write_bytes(b"something else")
    assert cache.obtain(debs.debs[0], PLATFORM) == path
    assert Digest.of_file(path).hex == debs.debs[0].sha256


def test_a_deb_that_the_mirror_dropped(debs: LockedImage, world: PackageWorld, tmp_path: Path):
    dropped = next(one for one in debs.debs if one.name == "zlib1g")
    world.drop_deb(dropped.name, dropped.version)
    world.add_deb("zlib1g", "1:1.3", "libc6")
    with pytest.raises(ArtifactMissing) as caught:
        world.cache(tmp_path / "cache").obtain_all(debs)
    for words in ("zlib1g", dropped.version, dropped.file, dropped.sha256, "lock --upgrade",
                  "lock --vendor", "--inputs"):  # fmt: skip
        assert words in str(caught.value)


def test_a_deb_with_other_bytes(debs: LockedImage, world: PackageWorld, tmp_path: Path):
    other = next(one for one in debs.debs if one.name == "tzdata")
    world.debs["tzdata", other.version, "amd64"] = "debconf"  # the same version, built anew
    world.publish()
    with pytest.raises(ArtifactChanged) as caught:
        world.cache(tmp_path / "cache").obtain_all(debs)
    message = str(caught.value)
    assert other.file in message
    assert other.sha256 in message
    assert len(set(re.findall(r"[0-9a-f]{64}", message))) == 2


def test_a_wheel_with_other_bytes(image: LockedImage, world: PackageWorld, tmp_path: Path):
    numpy = wheels_alone(image, "numpy")
    found = world.add_wheel("numpy", "100.0", content="changed = True")
    with pytest.raises(ArtifactChanged) as caught:
        world.cache(tmp_path / "cache").obtain_all(numpy)
    for words in ("numpy 100.0", numpy.wheels[0].file, numpy.wheels[0].sha256,
                  Digest.of_file(found).hex):  # fmt: skip
        assert words in str(caught.value)


def test_one_missing_wheel_of_many_is_the_one_that_is_named(
    image: LockedImage, world: PackageWorld, tmp_path: Path
):
    (world.wheels / "pillow-100.0-py3-none-any.whl").unlink()
    cache = world.cache(tmp_path / "cache")
    with pytest.raises(ArtifactMissing, match=r"pillow 100\.0") as caught:
        cache.obtain_all(wheels_alone(image, "numpy", "pillow", "rich"))
    assert "numpy" not in str(caught.value)


def test_offline_names_all_that_is_missing(debs: LockedImage, world: PackageWorld, tmp_path: Path):
    with pytest.raises(ArtifactMissing, match="--offline") as caught:
        world.cache(tmp_path / "cache", offline=True).obtain_all(debs)
    assert all(one.file in str(caught.value) for one in debs.debs)


def test_a_folder_that_may_not_be_written(debs: LockedImage, tmp_path: Path):
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(CacheUnusable, match="cache_dir"):
        ArtifactCache(tmp_path / "cache").obtain_all(debs)


def stored(lock: Lock, image: LockedImage, world: PackageWorld, folder: Path) -> Layout:
    layout = Layout(folder / "inputs", create=True)
    files = world.cache(folder / "cache").obtain_all(image)
    store_inputs(lock, files, layout, "inputs")
    return layout


@pytest.fixture
def lock(image: LockedImage) -> Lock:
    small = msgspec.structs.replace(image, wheels=image.wheels[:3])
    return Lock(format=2, tool_version="1", manifest="m", stacks=(), images=(small,))


def test_stored_inputs_bring_back_what_every_source_has_dropped(
    lock: Lock, world: PackageWorld, tmp_path: Path
):
    image = lock.images[0]
    layout = stored(lock, image, world, tmp_path / "one")
    descriptor = layout.resolve("inputs")
    content = decode(layout.read_manifest(digest_of(descriptor)), ImageManifest, "inputs")
    assert content.artifact_type == INPUTS
    titles = [layer.annotations["org.opencontainers.image.title"] for layer in content.layers]
    assert titles == ["enginecrate.lock", *sorted(one.file for one in image.packages)]
    place, name = open_inputs(str(layout.folder))
    inputs = StoredInputs(place, name)
    cache = ArtifactCache(tmp_path / "two", sources=unreachable(tmp_path), inputs=inputs)
    assert {Digest.of_file(path).hex for path in cache.obtain_all(image).values()} == {
        one.sha256 for one in image.packages
    }
    again = stored(lock, image, world, tmp_path / "three")
    assert again.resolve("inputs") == descriptor


def test_a_registry_keeps_stored_inputs(
    lock: Lock, world: PackageWorld, tmp_path: Path, registry: Registry
):
    image = lock.images[0]
    files = world.cache(tmp_path / "one").obtain_all(image)
    where = f"{registry.address}/resolve/inputs:v1"
    place, tag = open_inputs_target(where)
    store_inputs(lock, files, place, tag)
    inputs = StoredInputs(*open_inputs(where))
    cache = ArtifactCache(tmp_path / "two", sources=unreachable(tmp_path), inputs=inputs)
    assert set(cache.obtain_all(image)) == set(files)


def test_stored_inputs_are_no_image_and_images_are_no_inputs(tmp_path: Path):
    layout = Layout(tmp_path / "layout", create=True)
    config = layout.add_blob(iter((b"{}",)), "application/json")
    manifest = msgspec.json.encode(ImageManifest(config=config, layers=()))
    layout.write_manifest(manifest, "application/vnd.oci.image.manifest.v1+json", ("v1",))
    with pytest.raises(ImageInvalid, match="lock --vendor"):
        StoredInputs(layout, "v1")


def test_two_processes_fill_one_cache(image: LockedImage, world: PackageWorld, tmp_path: Path):
    (tmp_path / "image.json").write_bytes(msgspec.json.encode(image))
    script = """
import msgspec, sys
from pathlib import Path
from enginecrate.image.resolve import ArtifactCache, PackageSources
from enginecrate.stacks.lock import LockedImage
folder, sources, wheels = map(Path, sys.argv[1:])
image = msgspec.json.decode((folder / "image.json").read_bytes(), type=LockedImage)
sources = PackageSources(folder / "apt", apt_sources=sources, find_links=(str(wheels),))
ArtifactCache(folder / "cache", sources=sources).obtain_all(image)
"""
    command = [sys.executable, "-c", script, tmp_path, world.apt_sources, world.wheels]
    running = [subprocess.Popen(command, env=os.environ) for _ in range(2)]
    assert [one.wait(60) for one in running] == [0, 0]
    world.cache(tmp_path / "cache", offline=True).obtain_all(image)
