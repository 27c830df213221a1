"""Manifests that make no sense: each is named, with its line and its key."""

import re
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from PIL import Image

from enginecrate.builder.check.manifest import ManifestCheck, check_manifest
from enginecrate.builder.project.project import open_project
from enginecrate.cli.main import main
from enginecrate.errors import LabelsInvalid, ManifestInvalid
from enginecrate.image.resolve.bases import load_base
from enginecrate.settings import load_settings

GOOD = """\
[app]
name = "colours"
version = "1.0.0"
summary = "Finds colours"

[model]
path = "models/m.onnx"
profiles = [{ image = [[1,3,64,64], [2,3,64,64], [4,3,64,64]] }]

[pipeline]
task = "detection"
labels = "models/labels.txt"
decoder = "yolo"
decoder_options = { kind = "plain" }
resize = "letterbox"
mean = [0.0, 0.0, 0.0]
std = [255.0, 255.0, 255.0]

[precision]
mode = "int8"
calibration = { images = "calibration/", max_images = 50 }
accuracy = { golden = "golden/", images = "examination/", labelled = "truth/" }

[targets]
stacks = ["ort-cpu", "trt1016-cuda130"]
gpus = ["L4"]
precisions = ["fp32", "int8"]

[serve]
instances = 1

[image]
repository = "registry.example.com/isv/colours"
files = ["data/zones.json"]
base = "debian-12"

[listing]
description = "listing.md"
icon = "icon.png"
"""


def model(**metadata: str) -> onnx.ModelProto:
    """A detector in shape alone: [batch, 4 + 3 classes, boxes]."""
    nodes = [
        helper.make_node("Reshape", ["image", "shape"], ["flat"]),
        helper.make_node("Slice", ["flat", "from", "to", "axis"], ["boxes"]),
    ]
    constants = [
        onnx.numpy_helper.from_array(np.array([0, 7, -1], np.int64), "shape"),
        onnx.numpy_helper.from_array(np.array([0], np.int64), "from"),
        onnx.numpy_helper.from_array(np.array([100], np.int64), "to"),
        onnx.numpy_helper.from_array(np.array([2], np.int64), "axis"),
    ]
    graph = helper.make_graph(
        nodes, "m",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 3, 64, 64])],
        [helper.make_tensor_value_info("boxes", TensorProto.FLOAT, ["n", 7, 100])],
        constants,
    )  # fmt: skip
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    proto.ir_version = 8
    helper.set_model_props(proto, metadata)
    return proto


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    for name in ("models", "calibration", "examination", "golden", "truth/red", "data"):
        (root / name).mkdir(parents=True)
    onnx.save(model(), root / "models" / "m.onnx")
    (root / "models" / "labels.txt").write_text("red\ngreen\nblue\n")
    for index, name in enumerate(("calibration/a.png", "examination/b.png", "truth/red/c.png")):
        Image.new("RGB", (8, 8), (index, 0, 0)).save(root / name)
    Image.new("RGB", (8, 8)).save(root / "icon.png")
    (root / "listing.md").write_text("# Colours\n")
    (root / "data" / "zones.json").write_text("[]")
    (root / "enginecrate.toml").write_text(GOOD)
    return root


def check(project: Path) -> ManifestCheck:
    return check_manifest(project, load_base)


def shown(outcome: ManifestCheck) -> str:
    return "\n".join(map(str, outcome.faults))


def test_a_right_manifest_has_no_fault(project: Path):
    assert shown(check(project)) == ""


NONSENSE = [
    # app
    ('"colours"', '"Colours"', "line 2, app.name: .*lower-case"),
    ('"colours"', '"colours\\u001b[31m"', "line 2, app.name: must be one line.*x1b"),
    ('"colours"', "7", "line 2, app.name: expected text"),
    ('name = "colours"', "", "app.name: is missing"),
    ('"1.0.0"', '"1.0"', "line 3, app.version"),
    ('"1.0.0"', '"1.0.0-a..b"', "line 3, app.version"),
    ('"1.0.0"', '"\\u0661.0.0"', "line 3, app.version"),
    ('"Finds colours"', '"a\\nb"', "line 4, app.summary: must be one line"),
    ('"Finds colours"', '"a\\u202eb"', "line 4, app.summary: must be one line"),
    ('"Finds colours"', f'"{"a" * 201}"', "line 4, app.summary"),
    # model
    ('"models/m.onnx"', '"models/n.onnx"', "line 7, model.path: there is no file.*did you mean"),
    ('"models/m.onnx"', '"models"', "line 7, model.path: .*is not a file"),
    ('"models/m.onnx"', '"../m.onnx"', "line 7, model.path: .*inside the project"),
    ('"models/m.onnx"', '"/etc/hostname"', "line 7, model.path: .*inside the project"),
    ('"models/m.onnx"', '""', "line 7, model.path"),
    ('"models/m.onnx"', '"."', "line 7, model.path: .*name something inside"),
    ('"models/m.onnx"', '"models/labels.txt"', "line 7, model.path: .*ONNX"),
    ("{ image =", "{ picture =", "line 8, model.profiles: the model has no input 'picture'"),
    ("[4,3,64,64]]", "[4,3,65,64]]", "line 8, model.profiles: .*does not fit the input"),
    ("[4,3,64,64]]", "[1,3,64,64]]", "line 8, model.profiles: .*min <= opt <= max"),
    ("[4,3,64,64]]", "[99999999999,3,64,64]]", "line 8, model.profiles"),
    # pipeline
    ('task = "detection"', 'task = "detecton"', "line 11, pipeline.task: .*did you mean"),
    ('task = "detection"', "", "pipeline.task: is missing"),
    ('"models/labels.txt"', '"models/label.txt"', "line 12, pipeline.labels: there is no file"),
    ('"models/labels.txt"', '"models/m.onnx"', "line 12, pipeline.labels: .*binary"),
    ('"yolo"', '"yolo99"', "line 13, pipeline.decoder: no decoder is called 'yolo99'"),
    ('decoder = "yolo"\n', "", "pipeline.decoder: is missing"),
    ('"yolo"', '"detr"', "line 1[034], pipeline"),
    ('kind = "plain"', 'knid = "plain"', "line 14, pipeline.decoder_options: .*'knid'.*'kind'"),
    ('kind = "plain"', 'kind = "plane"', "line 14, pipeline.decoder_options: "),
    ('kind = "plain"', "extra = nan", "line 14, pipeline.decoder_options.extra: must be a number"),
    ('"letterbox"', '"letter_box"', "line 15, pipeline.resize: .*did you mean"),
    ("mean = [0.0, 0.0, 0.0]", "mean = [nan, 0.0, 0.0]", "line 16, pipeline.mean: .*found nan"),
    ("mean = [0.0, 0.0, 0.0]", "mean = [0.0, inf, 0.0]", "line 16, pipeline.mean: .*found inf"),
    ("mean = [0.0, 0.0, 0.0]", "mean = [1e300, 0.0, 0.0]", "line 16, pipeline.mean"),
    ("mean = [0.0, 0.0, 0.0]", "mean = [0.0, 0.0]", "pipeline.(std|mean)"),
    ("[255.0, 255.0, 255.0]", "[255.0, 0.0, 255.0]", "line 17, pipeline.std: .*none may be 0"),
    ("[255.0, 255.0, 255.0]", "[255.0, -1.0, 255.0]", "pipeline.mean: .*std above 0"),
    ("[255.0, 255.0, 255.0]", "[1.0, 2.0, -inf]", "line 17, pipeline.std: must be a number"),
    ('"letterbox"', '"letterbox"\nsize = [32, 32]', "line 16, pipeline.size"),
    ('"letterbox"', '"letterbox"\nsize = [999999, 32]', "line 16, pipeline.size"),
    ('"letterbox"', '"letterbox"\ninput = "img"', "line 16, pipeline.input"),
    ('"letterbox"', '"letterbox"\nlayout = "nhwc"', "line 16, pipeline.layout"),
    ('"letterbox"', '"letterbox"\nconstants = { x = 1 }', "line 16, pipeline.constants"),
    ('"letterbox"', '"letterbox"\nscore_threshold = 1.5', "line 16, pipeline.score_threshold"),
    (
        '"letterbox"',
        '"letterbox"\nmodule = "own:Pipe"',
        "line 16, pipeline.module: there is no file",
    ),
    (
        '"letterbox"',
        '"letterbox"\nmax_detections = 1' + "0" * 30,
        "line 16, pipeline.max_detections",
    ),
    # precision
    ('mode = "int8"', 'mode = "int4"', "line 20, precision.mode"),
    ('"calibration/"', '"calibratoin/"', "line 21, .*calibration.images: there is no file.*'calib"),
    ('"calibration/"', '"models/"', "line 21, precision.calibration.images: .*holds no photos"),
    ('"calibration/"', '"icon.png"', "line 21, precision.calibration.images: .*is not a folder"),
    ("max_images = 50", "max_images = 0", "line 21, precision.calibration.max_images"),
    ("max_images = 50", "percentile = inf", "line 21, precision.calibration.percentile"),
    ('"golden/"', '"goldne/"', "line 22, precision.accuracy.golden: there is no file"),
    ('"golden/"', '"icon.png"', "line 22, precision.accuracy.golden: .*is not a folder"),
    ('"examination/"', '"exam/"', "line 22, precision.accuracy.images: there is no file"),
    ('"examination/"', '"calibration/"', "line 22, precision.accuracy.images: .*cannot examine"),
    ('"truth/"', '"truht/"', "line 22, precision.accuracy.labelled: there is no file"),
    # targets
    ('"ort-cpu", "trt1016', '"ort-cpux", "trt1016', "line 25, targets.stacks: .*mean 'ort-cpu'"),
    ('"ort-cpu", "trt1016-cuda130"', '"ort-cpu"', "line 26, targets.gpus: nothing is built for L4"),
    ('"ort-cpu", "trt1016', '"trt1016-cuda130", "trt1016', "line 25, .*stands there twice"),
    ('["L4"]', '["L5"]', "line 26, targets.gpus: there is no GPU 'L5'"),
    ('["L4"]', '["L4", "Voodoo2"]', "line 26, targets.gpus: .*'Voodoo2'.*column 15"),
    ('["fp32", "int8"]', '["fp23"]', "line 27, targets.precisions"),
    ('mode = "int8"', 'mode = "int8"\naccept_few = 1', "line 21, precision.accept_few"),
    ("instances = 1", "instances = 0", "line 30, serve.instances"),
    ("instances = 1", "max_queue_delay_ms = nan", "line 30, serve.max_queue_delay_ms"),
    # image, listing
    ("/isv/colours", "/isv/colours:latest", "line 33, image.repository"),
    ('"data/zones.json"', '"data/zone.json"', "line 34, image.files: there is no file"),
    ('"data/zones.json"', '"../x"', "line 34, image.files: .*inside the project"),
    ('"debian-12"', '"debian-99"', "line 35, image.base: there is no base 'debian-99'"),
    ('"listing.md"', '"icon.png"', "line 38, listing.description: .*UTF-8"),
    ('"icon.png"', '"listing.md"', "line 39, listing.icon: .*not a PNG"),
    ("[listing]", '"\\u001b[2J" = 1\n[listing]', "line 37, .*unknown key|control character"),
    ("[listing]", "[lisitng]", "line 37, lisitng: unknown key"),
]


@pytest.mark.parametrize(("old", "new", "words"), NONSENSE)
def test_nonsense_is_named(project: Path, old: str, new: str, words: str):
    assert GOOD.count(old) >= 1
    (project / "enginecrate.toml").write_text(GOOD.replace(old, new, 1))
    with_fault = shown(check(project))
    assert "\x1b" not in with_fault
    assert any(re.search(words, line) for line in with_fault.split("\n")), with_fault


def test_every_fault_is_named_at_once(project: Path):
    text = GOOD
    for old, new in (
        ('"1.0.0"', '"1"'), ('"models/labels.txt"', '"models/labls.txt"'), ('"yolo"', '"yoloo"'),
        ("[0.0, 0.0, 0.0]", "[nan, 0.0, 0.0]"), ('"calibration/"', '"calib/"'),
        ('"golden/"', '"goldne/"'), ('["L4"]', '["L44"]'), ('"debian-12"', '"debian"'),
        ("instances = 1", "instance = 1"),
    ):  # fmt: skip
        text = text.replace(old, new, 1)
    (project / "enginecrate.toml").write_text(text)
    keys = [fault.key for fault in check(project).faults]
    assert keys == [
        "app.version", "pipeline.labels", "pipeline.decoder", "pipeline.mean",
        "precision.calibration.images", "precision.accuracy.golden", "targets.gpus",
        "serve.instance", "image.base",
    ]  # fmt: skip


def test_several_keys_of_the_pipeline_are_named_at_once(project: Path):
    text = GOOD.replace('kind = "plain"', 'kind = "plain", x = 1').replace(
        "[255.0, 255", "[-1.0, 255"
    )
    (project / "enginecrate.toml").write_text(text)
    (project / "models" / "labels.txt").write_text("red\ngreen\n")
    keys = {fault.key for fault in check(project).faults}
    assert keys == {"pipeline.labels", "pipeline.decoder_options", "pipeline.mean"}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("red\ngreen\n", "has 2 labels, but the model's output"),
        ("red\ngreen\nblue\nbrown\n", "has 4 labels, but the model's output"),
        ("red\nred\nblue\n", "'red' names the classes 0 and 1"),
        ("red\n\nblue\n", "line 2 is empty"),
        ("", "holds no labels"),
        ("names:\n  0: red\n  1: green\n", "has 2 labels"),
    ],
)
def test_labels_that_do_not_fit(project: Path, content: str, words: str):
    (project / "models" / "labels.txt").write_text(content)
    (fault,) = check(project).faults
    assert (fault.line, fault.key, fault.code) == (12, "pipeline.labels", "EC1105")
    assert words in fault.message
    with pytest.raises(LabelsInvalid):
        open_project(project, load_settings(environment={}))


def test_names_in_the_model(project: Path):
    path = project / "models" / "m.onnx"
    onnx.save(model(names="{0: 'green', 1: 'red', 2: 'blue'}"), path)
    (fault,) = check(project).faults
    assert "another order" in fault.message
    onnx.save(model(names="{0: 'rot', 1: 'green', 2: 'blue'}"), path)
    outcome = check(project)
    assert outcome.faults == ()
    assert "other names than the model" in outcome.warnings[0].message
    assert open_project(project, load_settings(environment={})).notes
    onnx.save(model(names="{0: 'Red', 1: 'green', 2: 'blue'}"), path)
    assert check(project).warnings == ()


def test_init_and_inspect_know_the_names_in_the_model(tmp_path: Path, project: Path, capfd):
    path = project / "models" / "named.onnx"
    onnx.save(model(names="{0: 'green', 1: 'red', 2: 'blue'}"), path)
    labels = project / "models" / "labels.txt"
    assert main(["init", str(tmp_path / "new"), "--model", str(path), "--labels", str(labels)]) == 2
    error = capfd.readouterr().err
    assert "another order" in error
    assert re.search(r"0 +red +green\n +1 +green +red", error)
    assert not (tmp_path / "new").exists()
    assert main(["inspect", str(path)]) == 0
    assert "3 in 'names': green, red, blue" in capfd.readouterr().out


def test_only_the_usual_folder_of_golden_samples_may_be_missing(project: Path):
    (project / "golden").rmdir()
    assert check(project).faults == ()
    open_project(project, load_settings(environment={}))
    (project / "enginecrate.toml").write_text(GOOD.replace('"golden/"', '"proof/"'))
    with pytest.raises(ManifestInvalid, match=r"line 22, precision\.accuracy\.golden: there is no"):
        open_project(project, load_settings(environment={}))


def test_golden_samples_are_read(project: Path):
    (project / "golden" / "golden.json").write_text("{")
    (fault,) = check(project).faults
    assert (fault.key, fault.code) == ("precision.accuracy.golden", "EC1501")


@pytest.mark.parametrize("name", ["models/labels.txt", "calibration/a.png", "data/zones.json"])
def test_links_out_of_the_project(project: Path, name: str):
    outside = project.parent / Path(name).name
    (project / name).rename(outside)
    (project / name).symlink_to(outside)
    (fault,) = check(project).faults
    assert f"{name!r} is a link that leads out of the project" in fault.message
    (project / name).unlink()
    outside.rename(project / "copy")
    (project / name).symlink_to(project / "copy")
    assert check(project).faults == ()


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("class Other: pass\n", "has no class 'Pipe'"),
        ("import nothing_like_it\n", "importing it failed: ModuleNotFoundError"),
        ("class Pipe:\n    def __init__(self, *args): raise KeyError('x')\n", "KeyError"),
        ("class Pipe(\n", "SyntaxError"),
    ],
)
def test_a_class_that_cannot_be_loaded(project: Path, code: str, words: str):
    (project / "own.py").write_text(code)
    text = GOOD.replace('decoder = "yolo"', 'module = "own:Pipe"')
    (project / "enginecrate.toml").write_text(text)
    (fault,) = check(project).faults
    assert (fault.line, fault.key, fault.code) == (13, "pipeline.module", "EC1405")
    assert words in fault.message


def test_precisions_that_no_stack_runs(project: Path):
    text = GOOD.replace('["ort-cpu", "trt1016-cuda130"]', '["ort-cpu"]').replace('["L4"]', "[]")
    (project / "enginecrate.toml").write_text(text.replace('["fp32", "int8"]', '["fp8"]'))
    (fault,) = check(project).faults
    assert (fault.line, fault.key, fault.code) == (27, "targets.precisions", "EC1504")
    assert "no stack of targets.stacks runs fp8" in fault.message


def test_keys_without_effect_are_warnings(project: Path):
    text = GOOD.replace('"letterbox"', '"stretch"\npad_value = 0\ntop_k = 3')
    (project / "enginecrate.toml").write_text(text)
    outcome = check(project)
    assert outcome.faults == ()
    keys = [warning.key for warning in outcome.warnings]
    assert keys == ["pipeline.pad_value", "pipeline.top_k"]
