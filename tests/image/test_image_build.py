"""The sample detector as an image: what is in it, and that it is always the same."""

import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from enginecrate.errors import ArtifactMissing, LockStale, RecipeInvalid
from enginecrate.image.assemble import BuildFolders, build_image
from enginecrate.image.facts import read_facts
from enginecrate.image.formats.oci import ImageIndex, ImageManifest, decode, digest_of
from enginecrate.image.image_plan import plan_platform
from enginecrate.image.image_requests import ImageRequest
from enginecrate.image.layers.cache import LayerCache
from enginecrate.image.layers.compression import Compression
from enginecrate.image.layers.writer import write_layer
from enginecrate.image.multi_platform import write_index
from enginecrate.image.recipe.annotations import read_requirements
from enginecrate.image.recipe.base_image import open_base
from enginecrate.image.recipe.origin import Origin
from enginecrate.image.recipe.plans import ImagePlan
from enginecrate.image.resolve import ArtifactCache, PackageSources
from enginecrate.image.resolve.images import image_section, inputs_digest
from enginecrate.image.sbom.collect import make_sbom
from enginecrate.image.sbom.model import Kind
from enginecrate.image.transports.layout import Layout
from enginecrate.manifest import load_manifest
from enginecrate.stacks.catalog import get_stack
from enginecrate.stacks.lock import LockedImage, load_lock, make_lock, render_lock
from other_clock import other_clock
from sample_image import PROGRAM, TAG, run_program, shared_cache
from small_images import add_image

ORIGIN = Origin("", "1970-01-01T00:00:00Z")
MB = 1_000_000


@pytest.fixture(scope="module")
def sample(built_image: Path) -> Path:
    """The project of the built image; not to be changed."""
    return built_image.parents[1]


@pytest.fixture(scope="module")
def plans(sample: Path) -> tuple[ImagePlan, ...]:
    """The plans of its build."""
    report = json.loads((sample / "build" / "report.json").read_bytes())
    keys = {target["plan"]["key"] for target in report["result"]["targets"]}
    return tuple(ImagePlan.read(shared_cache() / "plans" / key) for key in keys)


@pytest.fixture
def project(sample: Path, tmp_path: Path) -> Path:
    """A copy of it, without what was built."""
    target = tmp_path / "another place" / "copy"
    return Path(shutil.copytree(sample, target, ignore=shutil.ignore_patterns("build")))


@pytest.fixture
def request_for(plans: tuple[ImagePlan, ...]) -> Callable[[Path], ImageRequest]:
    """The request of `image build`."""

    def make(project: Path) -> ImageRequest:
        lock = load_lock(project)
        assert lock is not None
        return ImageRequest(
            file=load_manifest(project), lock=lock, stack="ort-cpu",
            platforms=("linux/amd64",), plans=plans, origin=ORIGIN,
        )  # fmt: skip

    return make


@pytest.fixture
def folders(tmp_path: Path) -> BuildFolders:
    """A new layout, with the packages and layers of all test runs; without a network."""
    cache = shared_cache()
    sources = PackageSources(cache / "apt", offline=True)
    layers = LayerCache(cache / "layers")
    layout = Layout(tmp_path / "layout", create=True)
    return BuildFolders(layout, ArtifactCache(cache, sources=sources), layers, cache / "layers")


def manifest_of(layout: Path) -> ImageManifest:
    transport = Layout(layout)
    return decode(transport.read_manifest(digest_of(transport.resolve(TAG))), ImageManifest, TAG)


def blobs_of(layout: Path) -> dict[str, int]:
    """Everything that a push to an empty registry would send: digests and sizes."""
    manifest = manifest_of(layout)
    listed = (Layout(layout).resolve(TAG), manifest.config, *manifest.layers)
    return {one.digest: one.size for one in listed}


def test_the_image_is_small_and_says_what_it_needs(built_image: Path):
    facts = read_facts(Layout(built_image), TAG)
    assert set(facts.tags) == {"v1.0-ort-cpu", "v1.0", "v1.0.0"}
    (platform,) = facts.platforms
    assert platform.platform == "linux/amd64"
    titles = [layer.title for layer in platform.layers]
    assert titles == ["Debian base", "Python", "Python packages", "enginecrate", "app", "model"]
    assert sum(layer.size for layer in platform.layers) < 100 * MB
    assert platform.needs is not None
    assert [str(engine) for engine in platform.needs.engines] == ["cpu:fp32"]
    assert platform.needs.download_bytes == sum(layer.size for layer in platform.layers)
    assert platform.needs.gpu_memory_bytes == 0
    labels = platform.config.config.labels
    assert replace(platform.needs, download_bytes=0) == read_requirements(labels)
    assert labels["org.opencontainers.image.licenses"] == "Apache-2.0"


def test_skopeo_understands_it(built_image: Path):
    done = subprocess.run(
        ["skopeo", "inspect", f"oci:{built_image}:{TAG}"],
        capture_output=True,
        text=True,
        check=True,
    )
    shown = json.loads(done.stdout)
    assert shown["Digest"] == Layout(built_image).resolve(TAG).digest
    assert shown["Architecture"] == "amd64"
    assert shown["Labels"]["io.enginecrate.stack"] == "ort-cpu"


def test_the_same_project_elsewhere_gives_the_same_digest(
    built_image: Path, project: Path, request_for: Callable[[Path], ImageRequest],
    folders: BuildFolders,
):  # fmt: skip
    for path in sorted(project.rglob("*")):
        os.utime(path, (time.time(), 1e9))
        path.chmod(0o700 if path.is_dir() else 0o600)
    built = build_image(request_for(project), folders)
    assert built.descriptor.digest == Layout(built_image).resolve(TAG).digest


def test_layers_are_the_same_without_any_cache(
    built_image: Path, project: Path, request_for: Callable[[Path], ImageRequest],
    folders: BuildFolders,
):  # fmt: skip
    known = {layer.digest for layer in manifest_of(built_image).layers}
    with plan_platform(request_for(project), "linux/amd64", folders.artifacts) as plan:
        small = [layer for layer in plan.recipe if layer.title in ("Debian base", "app")]
        made = [write_layer(layer, folders.layout, plan.compression) for layer in small]
    assert {layer.descriptor.digest for layer in made} < known


def test_a_new_model_pushes_little_more_than_the_model(built_image: Path, project: Path):
    model = project / "models" / "nanodet-g-416.onnx"
    change_all_weights(model)
    run_program("image", "build", "--project", project)
    old, new = blobs_of(built_image), blobs_of(project / "build" / "image")
    pushed = sum(size for digest, size in new.items() if digest not in old)
    assert 0 < pushed < model.stat().st_size + MB
    assert len(new.keys() - old.keys()) == 3  # the layer, the configuration, the manifest


def change_all_weights(path: Path) -> None:
    """Another training run, as far as compressors see; the answers stay right."""
    model = onnx.load(path)
    random = np.random.default_rng(0)
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype == np.float32 and values.size > 100:
            noise = 1 + 1e-5 * random.standard_normal(values.shape)
            tensor.raw_data = (values * noise).astype(np.float32).tobytes()
            del tensor.float_data[:]
    onnx.save(model, path)


def test_nothing_shows_before_all_of_it_is_there(
    project: Path, request_for: Callable[[Path], ImageRequest], folders: BuildFolders
):
    def stop(step: str, done: int, total: int) -> None:
        if step == "write the layers" and done > total // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_image(request_for(project), folders, stop)
    assert folders.layout.tags() == []
    build_image(request_for(project), folders)
    assert TAG in folders.layout.tags()


def test_another_compression_changes_no_configuration(
    project: Path, request_for: Callable[[Path], ImageRequest], folders: BuildFolders
):
    gzip = Compression.here("gzip", 1)
    with plan_platform(request_for(project), "linux/amd64", folders.artifacts) as plan:
        app = next(layer for layer in plan.recipe if layer.title == "app")
        needs = plan.needs(1, 2)
        assert "io.enginecrate.download-bytes" in plan.annotations(needs)
        assert "io.enginecrate.download-bytes" not in plan.container(needs).labels
        as_zstd = write_layer(app, folders.layout, plan.compression)
    as_gzip = write_layer(app, folders.layout, gzip)
    assert as_zstd.diff_id == as_gzip.diff_id
    assert as_zstd.descriptor.digest != as_gzip.descriptor.digest


def test_what_is_not_locked_is_refused(
    project: Path, request_for: Callable[[Path], ImageRequest], folders: BuildFolders
):
    request = request_for(project)
    with pytest.raises(RecipeInvalid, match=r"no image of the stack ort-cpu on linux/arm64.*lock"):
        build_image(replace(request, platforms=("linux/arm64",)), folders)
    with pytest.raises(RecipeInvalid, match=r"no engine .* for sm86"):
        build_image(replace(request, device="sm86"), folders)
    images = tuple(msgspec.structs.replace(one, inputs="sha256:0") for one in request.lock.images)
    stale = msgspec.structs.replace(request.lock, images=images)
    with pytest.raises(LockStale, match="other requirements"):
        build_image(replace(request, lock=stale), folders)


def test_offline_names_the_packages_that_are_missing(
    project: Path,
    request_for: Callable[[Path], ImageRequest],
    folders: BuildFolders,
    tmp_path: Path,
):
    nothing = ArtifactCache(tmp_path, sources=PackageSources(tmp_path / "apt", offline=True))
    with pytest.raises(ArtifactMissing, match=r"--offline forbids to fetch: .*onnxruntime 1"):
        build_image(request_for(project), replace(folders, artifacts=nothing))


def test_several_platforms_share_a_name(tmp_path: Path):
    layout = Layout(tmp_path, create=True)
    one, two = (add_image(layout, architecture=name) for name in ("arm64", "amd64"))
    found = [("linux/arm64", one), ("linux/amd64", two)]
    descriptor = write_index(layout, found, ["v1.0.0-ort-cpu", "v1.0"], {"a": "b"})
    index = decode(layout.read_manifest(digest_of(descriptor)), ImageIndex, "index")
    assert [str(each.platform) for each in index.manifests] == ["linux/amd64", "linux/arm64"]
    assert index.annotations == {"a": "b"}
    assert layout.resolve("v1.0").digest == descriptor.digest
    shown = subprocess.run(
        ["skopeo", "--override-arch", "arm64", "inspect", f"oci:{tmp_path}:v1.0"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert json.loads(shown.stdout)["Architecture"] == "arm64"


def test_a_vendors_base_lies_below(project: Path, folders: BuildFolders, tmp_path: Path):
    vendor = Layout(tmp_path / "vendor", create=True)
    files = {
        "usr/lib/libnvinfer.so.10": b"x",
        "usr/lib/os-release": b"ID=ubuntu\nVERSION_ID=22.04\n",
        "var/lib/dpkg/status": b"Package: libc6\nStatus: install ok installed\nVersion: 2.35\n",
    }
    image = add_image(vendor, ["r36"], architecture="arm64", files=files)
    named = f"oci:{vendor.folder}:r36@{image.digest}"
    manifest = project / "enginecrate.toml"
    text = manifest.read_text().replace('stacks = ["ort-cpu"]', 'stacks = ["trt103-jetpack62"]')
    manifest.write_text(f'{text}\n[image]\nbase_image = "{named}"\n')
    file, stack = load_manifest(project), get_stack("trt103-jetpack62")
    earlier = load_lock(project)
    assert earlier is not None
    compression = earlier.images[0].compression
    locked = LockedImage(
        stack=stack.name, platform="linux/arm64", base="jetpack-6", interpreter="3.10.12",
        compression=compression, debs=(), wheels=(),
        inputs=inputs_digest(stack, "linux/arm64", image_section(file.manifest)),
    )  # fmt: skip
    lock = make_lock(file, [locked])
    (project / "enginecrate.lock").write_bytes(render_lock(lock))
    base = open_base(named, "linux/arm64")
    request = ImageRequest(
        file=file, lock=lock, stack=stack.name, platforms=("linux/arm64",), plans=(),
        origin=ORIGIN, bases={"linux/arm64": base},
    )  # fmt: skip
    built = build_image(request, folders)
    data = folders.layout.read_manifest(digest_of(built.descriptor))
    written = decode(data, ImageManifest, "image")
    assert written.layers[0].digest == base.manifest.layers[0].digest
    assert written.annotations["org.opencontainers.image.base.digest"] == base.digest
    assert written.annotations["org.opencontainers.image.base.name"] == "r36"
    config = b"".join(folders.layout.read_blob(written.config))
    for text in (data, config):
        assert str(tmp_path).encode() not in text
    nameless = open_base(f"oci:{vendor.folder}@{image.digest}", "linux/arm64")
    assert nameless.annotations() == {"org.opencontainers.image.base.digest": base.digest}
    titles = [layer.title for layer in built.platforms[0].layers]
    assert titles == ["base 1", "Debian packages", "enginecrate", "app", "model"]
    bill = make_sbom(folders.layout, built.descriptor.digest, locked=locked)
    (system,) = bill.of_kind(Kind.SYSTEM)
    (below,) = bill.of_kind(Kind.BASE)
    assert (system.from_base, below.sha256) == (True, base.digest.removeprefix("sha256:"))
    assert [one.name for one in bill.of_kind(Kind.DEB) if one.from_base] == ["libc6"]
    with pytest.raises(RecipeInvalid, match="is for linux/arm64"):
        open_base(named, "linux/amd64")
    with pytest.raises(RecipeInvalid, match="a tag alone is refused"):
        open_base(f"oci:{vendor.folder}:r36", "linux/arm64")


def test_an_index_says_nothing_that_only_one_platform_can_say(
    project: Path, folders: BuildFolders, tmp_path: Path
):
    vendor, stack = Layout(tmp_path / "vendor", create=True), get_stack("trt103-jetpack62")
    bases = {
        f"linux/{name}": f"oci:{vendor.folder}@{add_image(vendor, architecture=name).digest}"
        for name in ("amd64", "arm64")
    }
    manifest = project / "enginecrate.toml"
    text = manifest.read_text().replace('stacks = ["ort-cpu"]', f'stacks = ["{stack.name}"]')
    manifest.write_text(f'{text}\n[image]\nbase_image = "{bases["linux/arm64"]}"\n')
    file, earlier = load_manifest(project), load_lock(project)
    assert earlier is not None
    images = [
        LockedImage(
            stack=stack.name, platform=platform, base="jetpack-6", interpreter="3.11.0",
            compression=earlier.images[0].compression, debs=(), wheels=(),
            inputs=inputs_digest(stack, platform, image_section(file.manifest)),
        )
        for platform in bases
    ]  # fmt: skip
    request = ImageRequest(
        file=file, lock=make_lock(file, images), stack=stack.name, platforms=tuple(bases),
        plans=(), origin=ORIGIN,
        bases={platform: open_base(text, platform) for platform, text in bases.items()},
    )  # fmt: skip
    (project / "enginecrate.lock").write_bytes(render_lock(request.lock))
    built = build_image(request, folders)
    layout = folders.layout
    index = decode(layout.read_manifest(digest_of(built.descriptor)), ImageIndex, "index")
    assert index.annotations["io.enginecrate.compute-capabilities"] == "8.7"
    assert index.annotations["io.enginecrate.platforms"] == "linux/amd64,linux/arm64"
    for one in index.manifests:
        shown = decode(layout.read_manifest(digest_of(one)), ImageManifest, "image").annotations
        alone = {name.rpartition(".")[2] for name in shown.keys() - index.annotations.keys()}
        assert alone == {
            "base-layers", "digest", "disk-bytes", "download-bytes", "engines", "gpu-memory-bytes",
        }  # fmt: skip


def test_a_vendors_base_is_for_its_own_stack_alone(
    built_image: Path, project: Path, tmp_path: Path
):
    """One project for Jetson and for CPUs: only the image of the Jetson stack stands on it."""
    vendor = Layout(tmp_path / "vendor", create=True)
    base = add_image(vendor, ["r36"], architecture="arm64", files={"usr/lib/libnvinfer.so": b"x"})
    before = load_lock(project)
    assert before is not None
    manifest, jetson = project / "enginecrate.toml", get_stack("trt103-jetpack62")
    stacks = 'stacks = ["trt103-jetpack62", "ort-cpu"]'
    text = manifest.read_text().replace('stacks = ["ort-cpu"]', stacks)
    manifest.write_text(f'{text}\n[image]\nbase_image = "oci:{vendor.folder}@{base.digest}"\n')
    file = load_manifest(project)
    locked = LockedImage(
        stack=jetson.name, platform="linux/arm64", base="jetpack-6", interpreter="3.11.0",
        compression=before.images[0].compression, debs=(), wheels=(),
        inputs=inputs_digest(jetson, "linux/arm64", image_section(file.manifest)),
    )  # fmt: skip
    (project / "enginecrate.lock").write_bytes(
        render_lock(make_lock(file, [locked, *before.images]))
    )
    done = run_program("image", "build", "--offline", "--json", "--project", project)
    images = {one["tag"]: one["digest"] for one in json.loads(done.stdout)["images"]}
    assert set(images) == {"v1.0.0-trt103-jetpack62", TAG}
    transport = Layout(project / "build" / "image")
    layers = {
        tag: [one.digest for one in decode(
            transport.read_manifest(digest_of(transport.resolve(tag))), ImageManifest, tag
        ).layers]
        for tag in images
    }  # fmt: skip
    (below,) = decode(vendor.read_manifest(digest_of(base)), ImageManifest, "base").layers
    assert layers["v1.0.0-trt103-jetpack62"][0] == below.digest
    assert layers[TAG][:3] == [one.digest for one in manifest_of(built_image).layers[:3]]


@pytest.mark.full
@pytest.mark.timeout(400)
def test_a_killed_build_goes_on(built_image: Path, project: Path, tmp_path: Path):
    cache = tmp_path / "cache"
    shutil.copytree(shared_cache() / "plans", cache / "plans")
    shutil.copytree(shared_cache() / "artifacts", cache / "artifacts")
    words = ["image", "build", "--offline", "--project", str(project)]
    environment = {**os.environ, "ENGINECRATE_CACHE_DIR": str(cache)}
    process = subprocess.Popen([PROGRAM, *words], env=environment)
    blobs = project / "build" / "image" / "blobs" / "sha256"
    while process.poll() is None and not list(blobs.glob("[0-9a-f]*")):
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert Layout(project / "build" / "image").tags() == []
    run_program(*words, cache=cache)
    again = Layout(project / "build" / "image").resolve(TAG)
    assert again.digest == Layout(built_image).resolve(TAG).digest


@pytest.mark.full
@pytest.mark.timeout(400)
def test_another_user_in_an_empty_home_at_another_time_gets_the_same_digest(
    built_image: Path, sample: Path
):
    root, packages = Path(__file__).parents[2], Path(onnx.__file__).parents[1]
    # It tells its year, so that a clock that was not changed is noticed.
    code = (
        "import sys, time; from enginecrate.cli.main import main; "
        "print(time.gmtime().tm_year, file=sys.stderr); sys.exit(main())"
    )
    # Not below pytest's folder, which only its own user may enter.
    with tempfile.TemporaryDirectory() as name:
        home, project = Path(name, "home"), Path(name, "project")
        clock = other_clock(Path(name, "clock"))
        shutil.copytree(shared_cache() / "artifacts", home / ".cache" / "enginecrate" / "artifacts")
        shutil.copytree(sample, project, ignore=shutil.ignore_patterns("build"))
        for path in (Path(name), *Path(name).rglob("*")):
            os.chown(path, 65534, 65534)
        done = subprocess.run(
            ["/usr/bin/python3.11", "-c", code, "image", "build", "--offline"],
            cwd=project, user=65534, group=65534, extra_groups=[], umask=0o077,
            env={
                "HOME": str(home), "TZ": "Asia/Kolkata", "LANG": "de_DE.UTF-8", "PATH": "/usr/bin",
                "PYTHONPATH": f"{root / 'src'}:{packages}", "PYTHONDONTWRITEBYTECODE": "1",
                **clock,
            },
            capture_output=True, text=True, timeout=380,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert "2031" in done.stderr
        again = Layout(project / "build" / "image").resolve(TAG)
    assert again.digest == Layout(built_image).resolve(TAG).digest
