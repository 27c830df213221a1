"""The recipe of an image: its files, its layers, and their order."""

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path, PurePosixPath

import msgspec
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from enginecrate.errors import ArchiveUnsafe, ManifestInvalid, RecipeInvalid
from enginecrate.image.image_requests import ImageRequest, left_out
from enginecrate.image.layers.collection import collect
from enginecrate.image.layers.entries import Entry, Folder, LayerRecipe, RegularFile
from enginecrate.image.recipe.annotations import estimate_gpu_memory
from enginecrate.image.recipe.app_files import AppFiles, find_app_files
from enginecrate.image.recipe.app_layers import app_layers, engine_layers
from enginecrate.image.recipe.bundled_files import client_files
from enginecrate.image.recipe.origin import Origin, find_origin
from enginecrate.image.recipe.package_layers import group_packages
from enginecrate.image.recipe.plans import ImagePlan, foreign_version, runs_in
from enginecrate.manifest import load_manifest
from enginecrate.stacks.catalog import get_stack
from enginecrate.stacks.lock import Lock, LockedDeb, LockedImage, LockedWheel
from enginecrate.stacks.plan_index import read_index
from enginecrate.values import DataType, Digest, PlanInfo, Precision, TensorSpec

SAMPLE = Path(__file__).parents[2] / "samples" / "detection"
MANIFEST = """\
[app]
name = "colours"
version = "1.0.0"
[model]
path = "models/m.onnx"
[pipeline]
task = "tensors"
{more}
"""


def write_model(path: Path, *, external: str = "") -> None:
    weights = numpy_helper.from_array(np.ones((3, 300), np.float32), "w")
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 300])], [weights],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    if external:
        onnx.save(model, path, save_as_external_data=True, location=external, size_threshold=0)
    else:
        onnx.save(model, path)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    write_model(folder / "models" / "m.onnx")
    write_manifest(folder)
    return folder


def write_manifest(folder: Path, more: str = "") -> None:
    (folder / "enginecrate.toml").write_text(MANIFEST.format(more=more))


def found(project: Path) -> AppFiles:
    return find_app_files(load_manifest(project))


def names(paths: tuple[PurePosixPath, ...]) -> list[str]:
    return [str(path) for path in paths]


def write(folder: Path, *paths: str) -> None:
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text("x")


def make_plan(
    folder: Path, device: str, *, stack: str = "trtrtx17-cuda130", backend: str = "tensorrt_rtx",
    precision: Precision = Precision.FP16, data: bytes = b"engine", version: str = "1.7.1",
) -> ImagePlan:  # fmt: skip
    key = Digest.of(f"{device} {precision} {data!r}".encode()).hex
    transport = folder / key
    transport.mkdir(parents=True)
    spec = TensorSpec("x", DataType.FP32, (-1, 3, 4))
    info = PlanInfo(
        backend=backend, backend_version=version, tool_version="1", stack=stack,
        platform="linux/amd64", device=device, model_digest="m", graph_digest="g",
        plan_digest=str(Digest.of(data)), plan_bytes=len(data), precision=precision,
        inputs=(spec,), outputs=(spec,), max_batch=8,
    )  # fmt: skip
    name = "plan.onnx" if backend == "onnxruntime" else "plan.engine"
    (transport / name).write_bytes(data)
    (transport / "plan.json").write_bytes(msgspec.json.encode(info))
    return ImagePlan.read(transport)


def entries(layer: LayerRecipe) -> dict[str, Entry]:
    return {entry.path: entry for contents in layer for entry in contents.entries()}


def test_the_sample_brings_what_the_manifest_names_and_nothing_else(tmp_path: Path):
    project = Path(shutil.copytree(SAMPLE, tmp_path / "detection"))
    write(project, "build/report.html", ".git/config", "notes.txt", "golden/__pycache__/x.pyc",
          "golden/.hidden", "enginecrate.lock", "venv/lib/x.py")  # fmt: skip
    files = found(project)
    assert names(files.model) == ["models/nanodet-g-416.onnx"]
    tops = {path.parts[0] for path in files.app}
    assert tops == {"LICENSES", "PROVENANCE.md", "calibration", "enginecrate.lock",
                    "enginecrate.toml", "golden", "models", "photos"}  # fmt: skip
    assert not [name for name in names(files.app) if "hidden" in name or "pyc" in name]
    assert files.model_bytes == (project / "models/nanodet-g-416.onnx").stat().st_size


def test_external_weights_go_with_the_model(project: Path):
    write_model(project / "models" / "m.onnx", external="m.weights")
    assert names(found(project).model) == ["models/m.onnx", "models/m.weights"]
    (project / "models" / "m.weights").unlink()
    with pytest.raises(RecipeInvalid, match=r"models/m\.weights.*is missing"):
        found(project)


def test_files_that_the_manifest_adds(project: Path):
    write_manifest(project, '[image]\nfiles = ["data", "zones.json"]')
    write(project, "data/a/b.bin", "zones.json", "other.json")
    assert {"data/a/b.bin", "zones.json"} < set(names(found(project).app))
    assert "other.json" not in names(found(project).app)
    (project / "zones.json").unlink()
    with pytest.raises(ManifestInvalid, match=r"zones\.json"):
        found(project)


def test_the_pipeline_module_brings_its_neighbours(project: Path):
    write_manifest(project, 'module = "code/inspect:Pipeline"')
    write(project, "code/inspect.py", "code/helpers.py", "code/data.csv", "setup.py")
    assert {"code/helpers.py", "code/inspect.py"} < set(names(found(project).app))
    assert not {"code/data.csv", "setup.py"} & set(names(found(project).app))


def test_photos_for_int8_alone_stay_outside_without_int8(project: Path):
    write(project, "exam/a.jpg")
    write_manifest(project, '[precision]\naccuracy = { images = "exam/" }')
    files = found(project)
    assert "exam/a.jpg" not in names(files.app)
    assert names(files.folders) == ["exam"]
    write_manifest(project, '[precision]\nmode = "int8"\naccuracy = { images = "exam/" }\n'
                   'calibration = { images = "exam/" }')  # fmt: skip
    assert "exam/a.jpg" in names(found(project).app)


RANDOM = "Zk3vQ9xL2mT8wB5nR7cY1pD4fG6hJ0sAeUiOkVtXqWyMzNbCrHgPdLaSjFE="

# In pieces, so that nothing takes this file for one with keys.
SECRETS = {
    "golden/id_rsa": "x",
    "golden/server.key": "x",
    "golden/server.pem": "-----BEGIN RSA PRIVATE " + f"KEY-----\n{RANDOM}\n{RANDOM}\n",
    "golden/credentials.json": '{"private_key": "-----BEGIN PRIVATE '
    + f'KEY-----\\n{RANDOM}{RANDOM}"}}',
    "LICENSES/github.txt": "token = gh" + f"p_{RANDOM[:36]}",
    "LICENSES/face.txt": "hf" + "_aBcDeFgHiJkLmNoPqRsTuVwXyZaBcDeFgH",
    "golden/slack.toml": "t = 'xo" + f"xb-123456789012-{RANDOM[:24]}'",
    "golden/nvidia.yaml": "key: nva" + f"pi-{RANDOM[:58]}{RANDOM[:6]}",
    "golden/session.csv": "AS" + "IAQ3EGRTBXK7Z2MWPL",
    "golden/late.txt": "x\n" * (1 << 20) + "gh" + f"p_{RANDOM[:36]}",
    "golden/site.env": "DB_PASSWORD=" + RANDOM[:20],
}


@pytest.mark.parametrize("name", SECRETS)
def test_secrets_are_refused_and_never_shown(project: Path, name: str):
    write(project, name)
    (project / name).write_text(SECRETS[name])
    with pytest.raises(RecipeInvalid, match="must not go into an image") as raised:
        found(project)
    assert name in str(raised.value)
    assert RANDOM[:10] not in str(raised.value)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("golden/ca.pem", f"-----BEGIN CERTIFICATE-----\n{RANDOM}\n{RANDOM}\n"),
        ("golden/public.pem", f"-----BEGIN PUBLIC KEY-----\n{RANDOM}\n{RANDOM}\n"),
        ("golden/listing.md", "export AWS_ACCESS_KEY_ID=AKIA" + "IOSFODNN7EXAMPLE"),
        ("golden/config.toml", "password = 'changeme'\nurl = 'https://user:password@example.com'"),
        ("golden/truststore.jks", "certificates"),
    ],
)
def test_certificates_and_examples_are_no_secrets(project: Path, name: str, content: str):
    write(project, name)
    (project / name).write_text(content)
    assert name in names(found(project).app)


def test_a_module_may_have_any_name(project: Path):
    write_manifest(project, 'module = "inspect:Pipeline"')
    write(project, "inspect.py", "env.py", "credentials.py")
    assert {"env.py", "credentials.py", "inspect.py"} < set(names(found(project).app))


def test_a_link_out_of_the_project_is_refused(project: Path, tmp_path: Path):
    write(tmp_path, "outside.txt")
    (project / "golden").mkdir()
    (project / "golden" / "inside.txt").symlink_to("../models/m.onnx")
    assert "golden/inside.txt" in names(found(project).app)
    (project / "golden" / "outside.txt").symlink_to(tmp_path / "outside.txt")
    with pytest.raises(RecipeInvalid, match="leads out of the project"):
        found(project)


def test_a_truth_in_the_project_folder_makes_no_folder(project: Path):
    write(project, "truth.json", "enginecrate.lock")
    write_manifest(project, '[precision]\naccuracy = { labelled = "truth.json" }')
    files = found(project)
    assert "truth.json" not in names(files.app)
    assert files.folders == ()
    app, _ = app_layers(files, "ort-cpu", ())
    assert "opt/enginecrate/app/enginecrate.toml" in [one.path for one in collect(app)]


def test_the_manifest_that_was_chosen_is_the_images(project: Path):
    (project / "enginecrate.toml").rename(project / "staging.toml")
    text = (project / "staging.toml").read_text()
    write(project, "enginecrate.lock")
    for other in ("", text.replace("colours", "other")):
        if other:
            (project / "enginecrate.toml").write_text(other)
        files = find_app_files(load_manifest(project / "staging.toml"))
        assert names(files.app) == ["enginecrate.lock", "enginecrate.toml"]
        app, _ = app_layers(files, "ort-cpu", ())
        entry = entries(app)["opt/enginecrate/app/enginecrate.toml"]
        assert isinstance(entry, RegularFile)
        assert entry.read().decode() == text


@pytest.mark.parametrize("name", ["Screenshot 3.15.12\u202fPM.png", "写真\u30001.jpg", "a\u00a0b"])
def test_file_names_may_hold_any_space(project: Path, name: str):
    write(project, f"golden/{name}")
    app, _ = app_layers(found(project), "ort-cpu", ())
    assert f"opt/enginecrate/app/golden/{name}" in [one.path for one in collect(app)]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("a\nb", r"U\+000A \(a control character\); give the file another name"),
        ("a\x1b[2Jb", r"U\+001B \(a control character\)"),
        ("photo\u202egpj.exe", r"\\u202e.*U\+202E \(it changes the direction of writing\)"),
        ("a\udcff", r"U\+DCFF \(bytes that are not UTF-8\)"),
    ],
)
def test_names_that_deceive_are_refused_with_the_reason(project: Path, name: str, words: str):
    write(project, f"golden/{name}")
    app, _ = app_layers(found(project), "ort-cpu", ())
    with pytest.raises(ArchiveUnsafe, match=words):
        collect(app)


def test_packages_are_grouped_by_how_they_change():
    debs = [deb("zlib1g"), deb("python3.11-minimal", "python3.11 3.11.2"), deb("libc6")]
    wheels = [wheel("numpy", 16_000_000), wheel("cuda", 400_000_000), wheel("tensorrt", 90_000_000)]
    image = LockedImage(
        stack="s", platform="linux/amd64", base="debian-12", interpreter="3.11.2",
        compression="zstd 1.5.7 level 12", debs=tuple(debs), wheels=tuple(wheels),
    )  # fmt: skip
    groups = group_packages(image)
    assert [one.name for one in groups.base] == ["libc6", "zlib1g"]
    assert [one.name for one in groups.interpreter] == ["python3.11-minimal"]
    assert [one.name for one in groups.large] == ["cuda", "tensorrt"]
    assert [one.name for one in groups.wheels] == ["numpy"]


def deb(name: str, source: str = "") -> LockedDeb:
    return LockedDeb(name=name, version="1", architecture="amd64", file=f"{name}.deb",
                     sha256="0" * 64, size=1, source=source)  # fmt: skip


def wheel(name: str, size: int) -> LockedWheel:
    return LockedWheel(name=name, version="1", file=f"{name}.whl", sha256="0" * 64, size=size)


def test_each_gpu_has_a_layer_above_the_model(project: Path, tmp_path: Path):
    plans = [
        make_plan(tmp_path / "plans", "sm89"),
        make_plan(tmp_path / "plans", "sm86"),
        make_plan(tmp_path / "plans", "sm86", precision=Precision.INT8),
        make_plan(tmp_path / "plans", "cpu", backend="onnxruntime", precision=Precision.FP32),
    ]
    stack = "trtrtx17-cuda130"
    app, model = app_layers(found(project), stack, plans)
    engines = engine_layers(stack, plans)
    assert [one.title for one in (app, model, *engines)] == [
        "app", "model", "engine sm86", "engine sm89",
    ]  # fmt: skip
    assert f"opt/enginecrate/plans/index/{stack}-cpu.json" in entries(model)
    assert "opt/enginecrate/app/models/m.onnx" in entries(model)
    assert "opt/enginecrate/app/enginecrate.toml" in entries(app)
    assert isinstance(entries(app)["opt/enginecrate/app"], Folder)
    only_sm86 = engine_layers(stack, [plan for plan in plans if plan.info.device == "sm86"])
    assert [one.contents[0].key for one in only_sm86] == [engines[0].contents[0].key]


def test_the_server_reads_the_index_that_is_written(project: Path, tmp_path: Path):
    plans = [
        make_plan(tmp_path / "plans", "sm86"),
        make_plan(tmp_path / "plans", "sm86", precision=Precision.INT8),
    ]
    (layer,) = engine_layers("trtrtx17-cuda130", plans)
    for entry in entries(layer).values():
        if isinstance(entry, RegularFile):
            path = tmp_path / "image" / entry.path
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(entry.read())
    folder = tmp_path / "image" / "opt" / "enginecrate" / "plans"
    listed = read_index(folder, "trtrtx17-cuda130", "sm86")
    assert [one.precision for one in listed] == [Precision.FP16, Precision.INT8]
    for one in listed:
        assert Digest.of_file(folder / one.key / "plan.engine") == one.digest
        assert Digest.of_file(folder / one.key / "plan.json") == one.sidecar


def test_a_damaged_plan_never_gets_in(tmp_path: Path):
    plan = make_plan(tmp_path, "sm86")
    plan.main.write_bytes(b"changed")
    with pytest.raises(RecipeInvalid, match="damaged"):
        ImagePlan.read(plan.folder)


def test_plans_fit_their_stack_and_platform_alone(tmp_path: Path):
    plan = make_plan(tmp_path, "sm86")
    stack = get_stack("trtrtx17-cuda130")
    assert runs_in(plan, stack, "linux/amd64")
    assert not runs_in(plan, stack, "linux/arm64")
    assert not runs_in(plan, get_stack("ort-cpu"), "linux/amd64")


@pytest.mark.parametrize(
    ("stack", "backend", "device", "version", "missing"),
    [
        ("ort-cpu", "onnxruntime", "cpu", "1.20.0", "1.32.0"),
        ("ort-cpu", "onnxruntime", "cpu", "1.32.0", ""),
        ("ort-cuda130", "onnxruntime", "cpu", "1.32.0", "1.31.1"),
        ("ort-cuda130", "onnxruntime", "cuda", "1.32.0", ""),
        ("trtrtx17-cuda130", "tensorrt_rtx", "sm86", "1.7.1.116", ""),
        ("trtrtx17-cuda130", "tensorrt_rtx", "sm86", "1.6.0.1", "1.7.1"),
    ],
)
def test_a_plan_that_the_image_would_refuse_stays_outside(
    tmp_path: Path, stack: str, backend: str, device: str, version: str, missing: str
):
    plan = make_plan(tmp_path, device, stack=stack, backend=backend, version=version)
    assert foreign_version(plan, get_stack(stack)) == missing
    assert runs_in(plan, get_stack(stack), "linux/amd64") == (not missing)


def test_version_compatible_plans_run_on_later_versions_alone(tmp_path: Path):
    stack = get_stack("trt1016-cuda130")
    plan = make_plan(tmp_path, "sm86", stack=stack.name, backend="tensorrt", version="10.3.0")
    info = msgspec.structs.replace(plan.info, version_compatible=True)
    assert foreign_version(plan, stack) == stack.versions["tensorrt"]
    assert foreign_version(replace(plan, info=info), stack) == ""
    later = msgspec.structs.replace(info, backend_version="10.99.0")
    assert foreign_version(replace(plan, info=later), stack) == stack.versions["tensorrt"]


def test_whoever_builds_is_told_what_stays_outside(tmp_path: Path):
    shutil.copytree(SAMPLE, tmp_path / "detection")
    plans = (
        make_plan(tmp_path, "cpu", stack="ort-cuda130", backend="onnxruntime", version="1.32.0"),
        make_plan(tmp_path, "cuda", stack="ort-cuda130", backend="onnxruntime", version="1.32.0"),
        make_plan(tmp_path / "o", "cpu", stack="ort-cpu", backend="onnxruntime", version="1.20.0"),
    )
    lock = Lock(format=2, tool_version="1", manifest="", stacks=())
    request = ImageRequest(
        file=load_manifest(tmp_path / "detection"), lock=lock, stack="ort-cuda130",
        platforms=("linux/amd64",), plans=plans, origin=Origin("", "1970-01-01T00:00:00Z"),
    )  # fmt: skip
    (note,) = left_out(request)
    assert "ort-cuda130, fp16 for cpu" in note
    assert "built by onnxruntime 1.32.0, and the image has 1.31.1" in note
    assert "builds it when it first needs it" in note
    assert left_out(replace(request, platforms=("linux/arm64",))) == []


def test_the_estimate_of_gpu_memory_grows_with_instances(tmp_path: Path):
    plans = [make_plan(tmp_path, "sm86", data=bytes(50_000_000))]
    stack = get_stack("trtrtx17-cuda130")
    one = estimate_gpu_memory(stack, plans, 1, 1)
    two = estimate_gpu_memory(stack, plans, 1, 2)
    tensors = 2 * 8 * 3 * 4 * 4
    assert two - one == 50_000_000 + tensors
    assert one > 2 * 50_000_000
    assert estimate_gpu_memory(get_stack("ort-cpu"), plans, 1, 1) == 0


def test_clients_come_with_the_program():
    assert "infer_v2.py" in client_files()


def test_only_a_clean_commit_is_named(project: Path):
    def git(*words: str) -> str:
        options = ["-c", "user.name=t", "-c", "user.email=t@example.com"]
        environment = {"GIT_COMMITTER_DATE": "1700000000 +0000", "PATH": "/usr/bin:/bin"}
        return subprocess.run(
            ["git", *options, "-C", str(project), *words],
            env=environment, check=True, capture_output=True, text=True,
        ).stdout.strip()  # fmt: skip

    git("init", "--quiet")
    assert find_origin(project, {}).revision == ""
    git("add", ".")
    git("commit", "--quiet", "--message", "all")
    origin = find_origin(project, {})
    assert (origin.revision, origin.created) == (git("rev-parse", "HEAD"), "2023-11-14T22:13:20Z")
    write(project, "models/new.txt")
    assert find_origin(project, {}).revision == ""
