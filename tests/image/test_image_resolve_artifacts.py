"""The cache of packages: by content, checked, and enough for a second build without any source."""

import base64
import os
import re
import shutil
import subprocess
import sys
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import msgspec
import pytest

from containers import Registry
from enginecrate.errors import (
    ArtifactChanged,
    ArtifactMissing,
    CacheUnusable,
    ImageInvalid,
    SourceUnavailable,
)
from enginecrate.image.formats.oci import ImageManifest, decode, digest_of
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
from enginecrate.image.resolve.fetch_jobs import batches
from enginecrate.image.resolve.target import Target
from enginecrate.image.resolve.wheel_index import WheelIndex
from enginecrate.image.resolve.work_folders import WorkFolders
from enginecrate.image.transports.layout import Layout
from enginecrate.manifest import load_manifest
from enginecrate.stacks.catalog import get_stack
from enginecrate.stacks.lock import Lock, LockedImage, LockedWheel
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
    total = sum(one.size for one in image.packages)
    assert steps[0] == (name, 0, total)
    assert steps[-1] == (name, total, total)
    monkeypatch.setenv("PATH", "")  # not even the tools are there
    nowhere = ArtifactCache(tmp_path / "cache", sources=unreachable(tmp_path))
    assert nowhere.obtain_all(image) == first
    assert not list((tmp_path / "cache" / "artifacts").glob("fetch-*"))


def test_a_damaged_file_is_fetched_again(debs: LockedImage, world: PackageWorld, tmp_path: Path):
    cache = world.cache(tmp_path / "cache")
    cache.obtain_all(debs)
    path = cache.path(debs.debs[0])
    path.write_bytes(b"something else")
    assert cache.obtain_all(debs)[debs.debs[0].sha256] == path
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
    next(world.wheels.glob("onnx-*.whl")).unlink()
    cache = world.cache(tmp_path / "cache")
    with pytest.raises(ArtifactMissing, match=r"onnx 100\.0") as caught:
        cache.obtain_all(wheels_alone(image, "numpy", "onnx", "rich"))
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
    transport, name = open_inputs(str(layout.folder))
    inputs = StoredInputs(transport, name)
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
    transport, tag = open_inputs_target(where)
    store_inputs(lock, files, transport, tag)
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


def test_without_sizes_packages_are_counted(debs: LockedImage, world: PackageWorld, tmp_path: Path):
    sizeless = tuple(msgspec.structs.replace(one, size=0) for one in debs.debs)
    steps: list[tuple[str, int, int]] = []
    image = msgspec.structs.replace(debs, debs=sizeless)
    world.cache(tmp_path / "cache").obtain_all(image, lambda *step: steps.append(step))
    assert {step[2] for step in steps} == {len(debs.debs)}
    assert (steps[0][1], steps[-1][1]) == (0, len(debs.debs))


def test_progress_moves_while_one_large_wheel_comes(
    world: PackageWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = world.add_wheel("large", "1.0", content="# " + "x" * 4_000_000)
    data, seen = path.read_bytes(), threading.Event()

    class Slow(BaseHTTPRequestHandler):
        """Sends a half, and the rest once somebody has noticed."""

        def do_GET(self) -> None:
            page = f'<a href="{path.name}">{path.name}</a>'.encode()
            body = data if self.path.endswith(".whl") else page
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: len(body) // 2])
            self.wfile.flush()
            if body is data:
                seen.wait(60)
            self.wfile.write(body[len(body) // 2 :])

    wheel = LockedWheel(
        name="large", version="1.0", file=path.name, sha256=Digest.of(data).hex, size=len(data)
    )
    image = LockedImage(
        stack="ort-cpu", platform=PLATFORM, base="debian-12", interpreter="3.11.2",
        compression="gzip 1.2.13 level 9", debs=(), wheels=(wheel,),
    )  # fmt: skip

    def progress(step: str, done: int, total: int) -> None:
        assert total == len(data)
        if 0 < done < total:
            seen.set()

    with ThreadingHTTPServer(("127.0.0.1", 0), Slow) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        transports = (f"http://127.0.0.1:{server.server_port}/",)
        sources = PackageSources(tmp_path / "apt", find_links=transports)
        monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
        ArtifactCache(tmp_path / "cache", sources=sources).obtain_all(image, progress)
        server.shutdown()
    assert seen.is_set()


def test_a_password_in_an_address_stands_in_no_command_line(tmp_path: Path, monkeypatch):
    """Everybody on a machine may read those."""
    asked, shown = [], []

    class Index(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.headers.get("Authorization", ""))
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                with suppress(OSError):
                    shown.append(b"s3cr3t" in path.read_bytes())
            self.send_response(404 if asked[-1] else 401)
            self.send_header("WWW-Authenticate", 'Basic realm="index"')
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Index) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://me:s3cr3t@127.0.0.1:{server.server_port}/it's an index/simple"
        monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
        monkeypatch.delenv("PIP_NO_INDEX")
        monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{server.server_port}/simple")
        index = WheelIndex(Target(PLATFORM, "3.11.2", "2.36"), extra_index_urls=[url])
        with pytest.raises(SourceUnavailable, match="no-such-package") as caught:
            index.resolve(["no-such-package-of-anybody==1.0"])
        server.shutdown()
    assert base64.b64encode(b"me:s3cr3t").decode() in asked[-1]
    assert not any(shown)
    assert "s3cr3t" not in str(caught.value)


def abandon(cache: Path) -> Path:
    """The folder of a fetch whose process was killed."""
    script = """
import sys, time
from pathlib import Path
from enginecrate.image.resolve.work_folders import WorkFolders
with WorkFolders(Path(sys.argv[1])).make() as work:
    print(work, flush=True)
    time.sleep(60)
"""
    command = [sys.executable, "-c", script, str(cache / "artifacts")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        work = Path(running.stdout.readline().strip())
        running.kill()
    assert work.is_dir()
    return work


def test_what_a_killed_fetch_had_finished_is_kept(
    image: LockedImage, world: PackageWorld, tmp_path: Path
):
    files = world.cache(tmp_path / "one").obtain_all(image)
    cache = world.cache(tmp_path / "two", offline=True)
    work = abandon(tmp_path / "two")
    inner = work / "pip-1" / "pip-unpack-2"  # where pip itself writes
    inner.mkdir(parents=True)
    half, *whole = image.wheels[:3]
    for one in whole:
        shutil.copy(files[one.sha256], inner / one.file)
    (inner / half.file).write_bytes(files[half.sha256].read_bytes()[:-1])
    shutil.copy(files[image.debs[0].sha256], work / image.debs[0].file)
    with pytest.raises(ArtifactMissing) as caught:
        cache.obtain_all(image)
    assert [cache.has(one) for one in (half, *whole, *image.debs[:2])] == [
        False, True, True, True, False,
    ]  # fmt: skip
    assert half.file in str(caught.value)
    assert not [one for one in (tmp_path / "two" / "artifacts").iterdir() if "fetch" in one.name]
    assert Digest.of_file(cache.path(whole[0])).hex == whole[0].sha256


def test_a_folder_of_a_living_process_is_left_alone(tmp_path: Path):
    dead, works = abandon(tmp_path), WorkFolders(tmp_path / "artifacts")
    with works.make() as living:
        (living / "half.whl").write_bytes(b"x")
        (living / "whole.whl").write_bytes(b"xyz")
        (living / "pip-1").mkdir()
        (living / "pip-1" / "half.whl").write_bytes(b"xy")
        assert works.size() == 5
        assert list(WorkFolders(tmp_path / "artifacts").abandoned()) == [dead]
        assert living.is_dir()
    assert list((tmp_path / "artifacts").iterdir()) == []


def test_rests_in_a_cache_that_is_only_read_do_no_harm(
    image: LockedImage, world: PackageWorld, tmp_path: Path
):
    """An ordinary user, since root may write anywhere."""
    world.cache(tmp_path / "cache").obtain_all(image)
    work = abandon(tmp_path / "cache")
    for path in (tmp_path, *tmp_path.parents[:2]):
        path.chmod(0o755)
    code = (
        "import os, sys; from pathlib import Path\n"
        "from enginecrate.image.resolve.work_folders import WorkFolders\n"
        "os.setuid(65534)\n"
        "print(list(WorkFolders(Path(sys.argv[1])).abandoned()))\n"
    )
    folder = tmp_path / "cache" / "artifacts"
    folder.chmod(0o755)
    done = subprocess.run([sys.executable, "-c", code, folder], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("[]\n", "")
    assert work.is_dir()


def test_old_rests_go_even_when_nothing_is_missing(
    debs: LockedImage, world: PackageWorld, tmp_path: Path
):
    cache = world.cache(tmp_path / "cache")
    cache.obtain_all(debs)
    young, old = abandon(tmp_path / "cache"), abandon(tmp_path / "cache")
    (old / "half.whl").write_bytes(b"x")
    os.utime(old, (1, 1))
    cache.obtain_all(debs)
    assert young.is_dir()
    assert not old.exists()
    rest = tmp_path / "cache" / "apt" / "amd64" / ".run.0123456789abcdef.partial"
    rest.mkdir()
    cache.path(debs.debs[0]).unlink()
    world.cache(tmp_path / "cache").obtain_all(debs)
    assert not rest.exists()
    assert not young.exists()


def test_large_wheels_have_runs_of_their_own(image: LockedImage):
    def sized(number: int, size: int) -> LockedWheel:
        return msgspec.structs.replace(image.wheels[0], name=f"w{number}", size=size)

    wheels = [sized(number, 1000) for number in range(20)]
    wheels += [sized(20, 40_000_000), sized(21, 700_000_000)]
    cut = batches(wheels)
    assert [[one.name for one in batch] for batch in cut[:2]] == [["w21"], ["w20"]]
    assert [len(batch) for batch in cut] == [1, 1, 10, 10]
    assert batches([]) == []


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
