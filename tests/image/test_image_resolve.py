"""Images are resolved by the real apt and pip, from sources that a test controls."""

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from enginecrate.errors import LockStale, RecipeInvalid, SourceUnavailable, StackUnsupported
from enginecrate.image.layers.compression import Compression
from enginecrate.image.resolve import (
    ArtifactCache,
    base_of,
    check_images,
    load_base,
    resolve_image,
)
from enginecrate.manifest import Manifest, parse_manifest
from enginecrate.stacks.catalog import get_stack
from enginecrate.stacks.lock import Lock as LockFile
from enginecrate.stacks.lock import LockedImage, render_lock
from package_world import BASE, LOCKED_DEBS, PackageWorld

PLATFORM = "linux/amd64"


def manifest(image: str = "", stacks: str = '["ort-cpu"]') -> Manifest:
    text = f"""
[app]
name = "app"
version = "1.0.0"
[model]
path = "m.onnx"
[pipeline]
task = "tensors"
[targets]
stacks = {stacks}
[image]
{image}
"""
    return parse_manifest(text.encode(), Path("enginecrate.toml"))


@pytest.fixture(scope="module")
def _shared(tmp_path_factory: pytest.TempPathFactory) -> PackageWorld:
    return PackageWorld(tmp_path_factory.mktemp("world") / "sources")


@pytest.fixture(autouse=True)
def _only_these_sources(monkeypatch: pytest.MonkeyPatch, _shared: PackageWorld) -> None:
    for name, value in _shared.environment().items():
        monkeypatch.setenv(name, value)


@pytest.fixture(scope="module")
def shared(_shared: PackageWorld) -> PackageWorld:
    """Sources that no test changes."""
    return _shared


@pytest.fixture
def world(tmp_path: Path) -> PackageWorld:
    """Sources that a test may change."""
    return PackageWorld(tmp_path / "sources")


Resolve = Callable[..., LockedImage]


@pytest.fixture
def resolve(tmp_path: Path) -> Resolve:
    def run(world: PackageWorld, image: str = "", stack: str = "ort-cpu", platform: str = PLATFORM,
            **options: object) -> LockedImage:  # fmt: skip
        cache = world.cache(tmp_path / "cache")
        return resolve_image(
            get_stack(stack), platform, manifest(image), cache=cache, fetch=False, **options
        )

    return run


@pytest.fixture(scope="module")
def plain(shared: PackageWorld, tmp_path_factory: pytest.TempPathFactory) -> LockedImage:
    """ort-cpu from the shared sources; fetched, too."""
    cache = shared.cache(tmp_path_factory.mktemp("cache"))
    with pytest.MonkeyPatch.context() as patch:
        for name, value in shared.environment().items():
            patch.setenv(name, value)
        return resolve_image(get_stack("ort-cpu"), PLATFORM, manifest(), cache=cache)


def versions(image: LockedImage) -> dict[str, str]:
    return {one.name: one.version for one in image.packages}


def test_all_that_is_needed_and_nothing_else(plain: LockedImage):
    image = plain
    assert {deb.name for deb in image.debs} == LOCKED_DEBS
    assert [deb.name for deb in image.debs] == sorted(LOCKED_DEBS)
    assert all(deb.version == BASE[deb.name][0] and deb.size > 0 for deb in image.debs)
    assert versions(image)["onnxruntime"] == get_stack("ort-cpu").versions["onnxruntime"]
    assert {"numpy", "pillow", "uvloop", "msgspec"} <= {wheel.name for wheel in image.wheels}
    assert all(wheel.size > 0 for wheel in image.wheels)
    assert image.interpreter == "3.11.2"
    assert image.compression == str(Compression.here("zstd"))
    assert image.base == "debian-12"


def test_no_package_manager_or_tool_is_resolved(plain: LockedImage):
    names = {deb.name for deb in plain.debs}
    left_out = {one.name for one in load_base("debian-12").left_out}
    assert {"dpkg", "debconf", "openssl"} <= left_out
    assert not names & left_out


def test_the_same_sources_give_the_same_lock_wherever_it_is_resolved(
    plain: LockedImage, shared: PackageWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def rendered(image: LockedImage) -> bytes:
        lock = LockFile(format=2, tool_version="1", manifest="m", stacks=(), images=(image,))
        return render_lock(lock)

    monkeypatch.setenv("HOME", str(tmp_path / "nowhere"))
    monkeypatch.setenv("TZ", "Asia/Shanghai")
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    monkeypatch.setenv("PIP_PRE", "1")
    cache = shared.cache(tmp_path / "elsewhere")
    again = rendered(resolve_image(get_stack("ort-cpu"), PLATFORM, manifest(), cache=cache))
    assert again == rendered(plain)
    assert str(shared.folder) not in again.decode()


def test_another_architecture_than_this_machine(resolve: Resolve, world: PackageWorld):
    world.add_wheel("numpy", "101.0", tag="cp311-cp311-manylinux_2_28_aarch64")
    world.add_wheel("onnx", "101.0", tag="cp311-cp311-manylinux_2_99_aarch64")
    world.add_wheel("msgspec", "101.0", tag="cp312-cp312-manylinux_2_17_aarch64")
    image = resolve(world, platform="linux/arm64")
    assert {deb.architecture for deb in image.debs} == {"arm64"}
    found = versions(image)
    assert found["numpy"] == "101.0"
    assert (found["onnx"], found["msgspec"]) == ("100.0", "100.0")  # glibc, Python do not fit
    assert versions(resolve(world))["numpy"] == "100.0"


def test_dependencies_are_judged_by_the_target_and_not_by_this_machine(
    resolve: Resolve, world: PackageWorld
):
    world.add_wheel(
        "onnx", "101.0",
        (
            'armhelper; platform_machine == "aarch64"',
            'intelhelper; platform_machine == "x86_64"',
            'oldhelper; python_full_version < "3.11.4"',
            'newhelper; python_version >= "3.12"',
            'extrahelper; extra == "more"',
        ),
    )  # fmt: skip
    for name in ("armhelper", "intelhelper", "oldhelper", "newhelper", "extrahelper"):
        world.add_wheel(name, "1.0")
    arm, intel = resolve(world, platform="linux/arm64"), resolve(world)
    assert {name for name in versions(arm) if "helper" in name} == {"armhelper", "oldhelper"}
    assert {name for name in versions(intel) if "helper" in name} == {"intelhelper", "oldhelper"}


def test_extras_bring_their_own_dependencies(resolve: Resolve, world: PackageWorld):
    world.add_wheel("shapely", "2.1.2", ('geos; extra == "fast"',))
    world.add_wheel("geos", "3.0")
    with_extra = resolve(world, 'packages = ["shapely[fast] == 2.1.2"]')
    assert versions(with_extra)["geos"] == "3.0"
    assert "geos" not in versions(resolve(world, 'packages = ["shapely==2.1.2"]'))


def test_onnxruntime_gpu_takes_the_place_of_onnxruntime(resolve: Resolve, world: PackageWorld):
    for package in get_stack("ort-cuda130").packages:
        world.add_wheel(package.name, package.version)
    world.add_wheel("helper", "1.0", ("onnxruntime>=1",))
    found = versions(resolve(world, 'packages = ["helper==1.0"]', stack="ort-cuda130"))
    assert found["onnxruntime-gpu"] == get_stack("ort-cuda130").versions["onnxruntime"]
    assert "helper" in found
    assert "onnxruntime" not in found


@pytest.mark.parametrize(
    ("packages", "stack", "words"),
    [
        ("onnxruntime==1.0", "ort-cpu", "not the version of ort-cpu"),
        ("onnxruntime==1.32.0", "ort-cuda130", "same Python module"),
    ],
)
def test_packages_that_contradict_the_stack(
    resolve: Resolve, shared: PackageWorld, packages: str, stack: str, words: str
):
    with pytest.raises(RecipeInvalid, match=words):
        resolve(shared, f'packages = ["{packages}"]', stack=stack)


def test_a_deb_of_the_manifest_comes_with_what_it_needs(shared: PackageWorld, tmp_path: Path):
    archive, base = shared.sources(tmp_path).debs(PLATFORM), load_base("debian-12")

    def names(*more: str) -> set[str]:
        wanted = base.wanted(more)
        return {deb.name for deb in archive.resolve(wanted, left_out=base.without(wanted))}

    assert names("libgomp1") - LOCKED_DEBS == {"libgomp1"}
    assert names("libgomp1", "libsqlite3-0") - LOCKED_DEBS == {"libgomp1", "libsqlite3-0"}


def test_versions_stay_until_an_upgrade(resolve: Resolve, world: PackageWorld, plain: LockedImage):
    before = plain
    world.add_wheel("numpy", "101.0")
    world.add_deb("zlib1g", "1:1.3")
    world.add_wheel("shapely", "2.1.2")
    assert resolve(world, previous=before) == before
    more = resolve(world, 'packages = ["shapely==2.1.2"]', previous=before)
    assert versions(more) == {**versions(before), "shapely": "2.1.2"}
    upgraded = versions(resolve(world, previous=before, upgrade=True))
    assert (upgraded["numpy"], upgraded["zlib1g"]) == ("101.0", "1:1.3")


def test_a_kept_wheel_that_no_index_has_any_more_asks_for_an_upgrade(
    resolve: Resolve, world: PackageWorld, plain: LockedImage
):
    (world.wheels / "numpy-100.0-py3-none-any.whl").unlink()
    world.add_wheel("numpy", "101.0")
    world.add_wheel("shapely", "2.1.2")
    with pytest.raises(SourceUnavailable, match=r"numpy.*lock --upgrade"):
        resolve(world, 'packages = ["shapely==2.1.2"]', previous=plain)


def test_the_compressor_of_the_lock_stays_until_another_is_asked_for(
    resolve: Resolve, shared: PackageWorld, plain: LockedImage
):
    older = msgspec.structs.replace(plain, compression="zstd 1.5.0 level 3")
    assert resolve(shared, previous=older) == older
    assert resolve(shared, previous=older, upgrade=True).compression == str(
        Compression.here("zstd")
    )
    gzip = resolve(shared, 'compression = "gzip"', previous=older)
    assert gzip.compression == str(Compression.here("gzip"))
    assert gzip.compression.startswith("gzip ")


def test_a_dry_run_fetches_nothing(shared: PackageWorld, tmp_path: Path):
    cache = shared.cache(tmp_path / "cache")
    image = resolve_image(get_stack("ort-cpu"), PLATFORM, manifest(), cache=cache, fetch=False)
    assert {wheel.size for wheel in image.wheels} == {0}
    assert not any(cache.has(one) for one in image.packages)


def test_a_package_that_no_source_has(resolve: Resolve, shared: PackageWorld):
    with pytest.raises(SourceUnavailable, match=r"libnothing.*--apt-sources"):
        resolve(shared, 'debs = ["libnothing"]')
    with pytest.raises(SourceUnavailable, match=r"shapely==9\.9.*--find-links"):
        resolve(shared, 'packages = ["shapely==9.9"]')


def test_a_vendor_stack_says_where_its_packages_are(resolve: Resolve, shared: PackageWorld):
    with pytest.raises(StackUnsupported) as caught:
        resolve(shared, stack="trt114-cuda130")
    for words in ("trt114-cuda130", "tensorrt", "--extra-index-url", "--find-links", "vendor"):
        assert words in str(caught.value)


def test_a_vendor_stack_resolves_from_a_folder_of_wheels(resolve: Resolve, world: PackageWorld):
    for package in get_stack("trt114-cuda130").packages:
        world.add_wheel(package.name, package.version)
    found = versions(resolve(world, stack="trt114-cuda130"))
    assert found["tensorrt-cu13"] == get_stack("trt114-cuda130").packages[0].version


def test_an_unsigned_apt_source_is_refused(tmp_path: Path):
    world = PackageWorld(tmp_path / "sources", trusted=False)
    with pytest.raises(SourceUnavailable, match="not signed"):
        resolve_image(
            get_stack("ort-cpu"), PLATFORM, manifest(), cache=world.cache(tmp_path / "cache")
        )


def test_sources_of_another_distribution_are_noticed(resolve: Resolve, world: PackageWorld):
    world.add_deb("libc6", "2.41-1", "libgcc-s1")
    with pytest.raises(SourceUnavailable, match=r"libc6 2\.41-1.*has 2\.36.*--apt-sources"):
        resolve(world)


def test_offline_says_what_it_lacks(shared: PackageWorld, tmp_path: Path):
    cache = shared.cache(tmp_path, offline=True)
    with pytest.raises(SourceUnavailable, match="--offline forbids"):
        resolve_image(get_stack("ort-cpu"), PLATFORM, manifest(), cache=cache)


def test_a_jetson_stack_needs_the_vendors_image(resolve: Resolve, world: PackageWorld):
    stack = get_stack("trt103-jetpack62")
    with pytest.raises(RecipeInvalid, match=r"base_image = .*@sha256"):
        resolve(world, stack=stack.name, platform="linux/arm64")
    named = f'base_image = "registry.example.com/jetpack@sha256:{"0" * 64}"'
    image = resolve(world, named, stack=stack.name, platform="linux/arm64")
    assert image.debs == ()
    assert image.base == "jetpack-6"
    assert versions(image)["onnxruntime"] == "1.32.0"
    other = named.replace("0" * 64, "1" * 64)
    assert resolve(world, other, stack=stack.name, platform="linux/arm64").inputs != image.inputs


def test_images_are_checked_without_any_source(plain: LockedImage):
    image = plain
    lock = LockFile(format=2, tool_version="1", manifest="m", stacks=(), images=(image,))
    check_images(lock, manifest())
    with pytest.raises(LockStale, match=f"{image.inputs}, and they are sha256:"):
        check_images(lock, manifest('debs = ["libgomp1"]'))


def test_unknown_bases_and_platforms(resolve: Resolve, shared: PackageWorld):
    with pytest.raises(RecipeInvalid, match="did you mean 'debian-12'"):
        resolve(shared, 'base = "debian12"')
    with pytest.raises(RecipeInvalid, match="linux/amd64, linux/arm64"):
        resolve(shared, platform="linux/s390x")


def test_every_base_says_why(shared: PackageWorld):
    base = base_of(get_stack("ort-cpu"), manifest().image)  # type: ignore[arg-type]
    assert all(one.reason for one in (*base.packages, *base.left_out))


def test_no_tool_no_lock(tmp_path: Path, shared: PackageWorld, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SourceUnavailable, match=r"apt-get is not installed.*--inputs"):
        resolve_image(
            get_stack("ort-cpu"), PLATFORM, manifest(), cache=ArtifactCache(tmp_path / "cache")
        )
