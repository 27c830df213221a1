"""Calibration tables: what they hold, and that the same inputs give the same bytes."""

import json
import math
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from enginecrate.builder.project.photos import find_photos, read_photos
from enginecrate.builder.project.project import Project, open_project
from enginecrate.builder.quantization.calibration import (
    CalibrationTable,
    ObtainedTable,
    load_table,
    obtain_table,
)
from enginecrate.errors import CacheUnusable, CalibrationInvalid
from enginecrate.graph.quantize.quantize import quantizable, quantize
from enginecrate.graph.quantize.ranges import Range
from enginecrate.graph.typed import Scheme
from enginecrate.values import Precision
from graph_tools import execute
from tiny_models import constant, model, save, value
from tiny_project import make_project, photo, settings

CHILD = """
import os, sys
from pathlib import Path
from enginecrate.builder.quantization.calibration import obtain_table
from enginecrate.builder.project.photos import read_photos
from enginecrate.builder.project.project import open_project
from enginecrate.settings import load_settings

root, photos, cache, method, cores, umask = sys.argv[1:]
os.umask(int(umask, 8))
os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: int(cores)])
settings = load_settings(environment={}, flags={"cache_dir": cache})
project = open_project(Path(root), settings)
found = read_photos(Path(photos), project.pipeline).photos
show = lambda step, done, total: print(f"{step} {done}", flush=True)
obtained = obtain_table(
    project, project.model, found, method=method, percentile=99.0,
    settings=settings, progress=show,
)
print(obtained.path)
"""


def color_network(root: Path) -> onnx.ModelProto:
    """The tiny project's classifier with a convolution in front, so that there is more to see."""
    rng = np.random.default_rng(3)
    nodes = [
        helper.make_node("Conv", ["image", "w1", "b1"], ["c"], "conv", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"], "relu"),
        helper.make_node("GlobalAveragePool", ["r"], ["pooled"], "pool"),
        helper.make_node("Flatten", ["pooled"], ["flat"], "flatten"),
        helper.make_node("Gemm", ["flat", "w2"], ["logits"], "score"),
    ]
    constants = [
        constant("w1", rng.standard_normal((8, 3, 3, 3)).astype(np.float32)),
        constant("b1", rng.standard_normal(8).astype(np.float32)),
        constant("w2", rng.standard_normal((8, 3)).astype(np.float32)),
    ]
    image = value("image", ["batch", 3, 8, 8])
    proto = model(nodes, [image], [value("logits", ["batch", 3])], constants)
    save(proto, root / "colors.onnx")
    return proto


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = make_project(tmp_path / "colors")
    color_network(folder)
    return folder


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(110):
        color = (number * 2, 250 - number, (number * 37) % 255)
        (folder / f"{number:03}.png").write_bytes(photo(color, (12, 10)))
    return folder


Calibrate = Callable[..., ObtainedTable]


@pytest.fixture
def calibrated(root: Path, photos: Path, tmp_path: Path) -> Calibrate:
    """Calibrate the project in a cache of the test's own."""

    def run(cache: str = "cache", folder: Path = photos, **options) -> ObtainedTable:
        chosen = settings(tmp_path / cache)
        project = open_project(root, chosen)
        found = read_photos(folder, project.pipeline)
        return obtain_table(project, project.model, found.photos, settings=chosen, **options)

    return run


def seen_by_hand(root: Path, photos: Path, tmp_path: Path) -> dict[str, Range]:
    project = open_project(root, settings(tmp_path / "other"))
    proto = onnx.ModelProto()
    proto.CopyFrom(project.model.proto)
    names = [name for node in proto.graph.node for name in node.output]
    del proto.graph.output[:]
    proto.graph.output.extend(helper.make_tensor_value_info(name, 1, None) for name in names)
    found: dict[str, Range] = {}
    for one in find_photos(photos, "classification").photos:
        feed = dict(project.pipeline.prepare(one.read()).tensors)
        for name, array in [*feed.items(), *zip(names, execute(proto, feed), strict=True)]:
            low, high = float(array.min()), float(array.max())
            old = found.get(name, Range(low, high))
            found[name] = Range(min(old.low, low), max(old.high, high))
    return found


def test_minmax_is_what_a_loop_over_the_photos_gives(
    calibrated: Calibrate, root: Path, photos: Path, tmp_path: Path
):
    table = calibrated().table
    assert table.observed == seen_by_hand(root, photos, tmp_path)
    assert (table.photos, table.copies) == (110, 0)
    assert table.ranges == {name: table.observed[name] for name in table.ranges}


def test_every_scheme_finds_what_it_needs(calibrated: Calibrate, root: Path, tmp_path: Path):
    table = calibrated().table
    graph = open_project(root, settings(tmp_path)).model
    for scheme in Scheme:
        assert set(quantizable(graph, scheme)) <= set(table.ranges)
        assert quantize(graph, table.ranges, scheme).precision is not Precision.FP32


def test_other_methods_cut_off_what_is_rare(calibrated: Calibrate, photos: Path):
    bright = np.zeros((10, 12, 3), np.uint8)
    bright[0, 0] = 255
    for name in photos.iterdir():
        if name.name > "040":
            name.unlink()
    plain = calibrated(max_photos=99).table
    cut = calibrated(max_photos=99, method="percentile", percentile=99.0).table
    kept = calibrated(max_photos=99, method="entropy").table
    for table in (cut, kept):
        assert table.observed == plain.observed
        for name, one in table.ranges.items():
            assert plain.ranges[name].low <= one.low <= one.high <= plain.ranges[name].high
    assert cut.ranges["r"].high < plain.ranges["r"].high
    assert cut.ranges["r"].low == 0
    whole = calibrated(max_photos=99, method="percentile", percentile=100.0).table
    assert whole.ranges == plain.ranges


def test_a_table_is_reused_until_something_changes(calibrated: Calibrate, root: Path, photos: Path):
    first = calibrated()
    again = calibrated()
    assert (first.reused, again.reused) == (False, True)
    assert again.table.digest == first.table.digest
    assert not first.path.with_suffix(".state").exists()
    paths = {first.path}
    for change in (
        lambda: (photos / "000.png").write_bytes(photo((1, 1, 1))),
        lambda: (root / "labels.txt").write_text("a\nb\nc\n"),
        lambda: edit(root, "mean = [127.5", "mean = [100.5"),
        lambda: save(other_weights(root), root / "colors.onnx"),
    ):
        change()
        obtained = calibrated()
        paths.add(obtained.path)
    assert len(paths) == 4  # labels change nothing that a calibration sees
    assert calibrated(method="entropy").path not in paths
    assert not calibrated(method="percentile", percentile=99.0).reused
    assert not calibrated(method="percentile", percentile=99.5).reused
    assert calibrated(method="entropy", percentile=99.5).reused


def edit(root: Path, old: str, new: str) -> None:
    file = root / "enginecrate.toml"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def other_weights(root: Path) -> onnx.ModelProto:
    proto = onnx.load(root / "colors.onnx")
    tensor = proto.graph.initializer[0]
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * 2, tensor.name))
    return proto


def test_the_vendors_own_class_counts(root: Path, calibrated: Calibrate):
    module = (
        "from enginecrate.pipelines.classification import ClassificationPipeline\n"
        "class Own(ClassificationPipeline):\n    pass\n"
    )
    (root / "own.py").write_text(module)
    edit(root, 'task = "classification"', 'task = "classification"\nmodule = "own:Own"')
    first = calibrated()
    (root / "own.py").write_text(module + "# changed\n")
    assert calibrated().path != first.path


def test_a_damaged_table_is_made_again(calibrated: Calibrate):
    first = calibrated()
    good = first.path.read_bytes()
    first.path.write_bytes(good[:100])
    again = calibrated()
    assert not again.reused
    assert again.path.read_bytes() == good


def test_a_damaged_state_is_begun_anew(calibrated: Calibrate):
    reference = calibrated("one")
    other = reference.path.parents[2] / "two" / "calibration"
    other.mkdir(parents=True, mode=0o700)
    state = other / reference.path.with_suffix(".state").name
    state.write_bytes(b"\x93\x01\x02")
    assert calibrated("two").path.read_bytes() == reference.path.read_bytes()


def test_few_photos_bring_a_warning_and_copies(calibrated: Calibrate, photos: Path):
    for one in sorted(photos.iterdir())[7:]:
        one.unlink()
    obtained = calibrated()
    assert (obtained.table.photos, obtained.table.copies) == (100, 93)
    assert "7 photos" in obtained.warning
    assert "about 500 are recommended" in obtained.warning
    one = calibrated(max_photos=5)  # somebody who asks for few gets few
    assert (one.table.photos, one.table.copies, one.warning) == (5, 0, "")


def test_no_photo_at_all_is_an_error(root: Path, tmp_path: Path):
    chosen = settings(tmp_path / "cache")
    project = open_project(root, chosen)
    with pytest.raises(CalibrationInvalid, match="about 500 are recommended"):
        obtain_table(project, project.model, [], settings=chosen)


def test_values_that_are_no_numbers_name_tensor_and_photo(root: Path, photos: Path, tmp_path: Path):
    proto = color_network(root)
    log = helper.make_node("Log", ["image"], ["logarithm"], "log")
    proto.graph.node.insert(0, log)
    proto.graph.node[1].input[0] = "logarithm"
    save(proto, root / "colors.onnx")
    chosen = settings(tmp_path / "cache")
    project = open_project(root, chosen)
    found = read_photos(photos, project.pipeline).photos
    with pytest.raises(CalibrationInvalid, match=r"photo '\d+\.png'.*'logarithm'.*logarithm of 0"):
        obtain_table(project, project.model, found, settings=chosen)


def test_infinity_where_nothing_is_quantised_is_only_noted(
    root: Path, photos: Path, tmp_path: Path
):
    """A logarithm that no layer reads, of values that may be negative."""
    proto = color_network(root)
    proto.graph.node.append(helper.make_node("Log", ["c"], ["logarithm"], "log"))
    proto.graph.output.append(value("logarithm", ["batch", 8, 8, 8]))
    save(proto, root / "colors.onnx")
    chosen = settings(tmp_path / "cache")
    project = open_project(root, chosen)
    found = read_photos(photos, project.pipeline).photos
    table = obtain_table(project, project.model, found, settings=chosen).table
    assert table.observed["c"].low < 0
    assert table.observed["logarithm"] == Range(-math.inf, math.inf)
    assert "logarithm" not in table.ranges


def run_child(
    root: Path, photos: Path, cache: Path, method: str = "percentile", cores: int = 2,
    umask: str = "022", **environment: str,
) -> "subprocess.Popen[str]":  # fmt: skip
    words = map(str, (root, photos, cache, method, cores, umask))
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )


def finish(child: "subprocess.Popen[str]") -> Path:
    out, err = child.communicate()
    assert child.returncode == 0, err
    return Path(out.splitlines()[-1])


@pytest.mark.parametrize("method", ["minmax", "percentile"])
def test_other_surroundings_give_the_same_bytes(
    root: Path, photos: Path, tmp_path: Path, method: str
):
    moved = tmp_path / "moved to: ärger"
    for name, source in (("p", root), ("photos", photos)):
        (moved / name).mkdir(parents=True)
        for number, file in enumerate(sorted(source.iterdir())):
            # Photos may even have other names: the order is another one then.
            stem = f"{1000 - number}" if name == "photos" else file.stem
            (moved / name / f"{stem}{file.suffix}").write_bytes(file.read_bytes())
    one = finish(run_child(root, photos, tmp_path / "a", method, PYTHONHASHSEED="1", LC_ALL="C"))
    two = finish(
        run_child(
            moved / "p",
            moved / "photos",
            tmp_path / "b",
            method,
            cores=1,
            umask="077",
            PYTHONHASHSEED="2",
            LC_ALL="C.UTF-8",
            TZ="Asia/Kolkata",
        )
    )
    assert one.name == two.name
    assert one.read_bytes() == two.read_bytes()


@pytest.mark.parametrize("after", [33, 70, 110 + 33])
def test_a_killed_run_goes_on_and_ends_with_the_same_bytes(
    calibrated: Calibrate, root: Path, photos: Path, tmp_path: Path, after: int
):
    """In the first pass over the photos, and in the second one."""
    whole = calibrated("whole", method="percentile", percentile=99.0)
    with run_child(root, photos, tmp_path / "killed") as child:
        steps = 0
        for line in child.stdout or ():
            steps += line.startswith("calibrate") and not line.endswith(" 0\n")
            if steps >= after:
                child.send_signal(signal.SIGKILL)
                break
    state = tmp_path / "killed" / "calibration" / whole.path.with_suffix(".state").name
    assert state.is_file()
    assert not (state.parent / whole.path.name).exists()
    seen: list[tuple[str, int]] = []
    again = calibrated(
        "killed",
        method="percentile",
        percentile=99.0,
        progress=lambda step, done, total: seen.append((step, done)),
    )
    assert seen[0][1] > 0 if after < 110 else seen[0][0] == "calibrate: distributions"
    assert again.path.read_bytes() == whole.path.read_bytes()
    assert sorted(path.name for path in state.parent.iterdir()) == [whole.path.name]


def test_ctrl_c_ends_at_once_and_the_next_run_goes_on(
    calibrated: Calibrate, root: Path, photos: Path, tmp_path: Path
):
    def interrupt(step: str, done: int, total: int) -> None:
        if step.startswith("calibrate") and done == 40:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        calibrated(progress=interrupt)
    seen: list[int] = []
    again = calibrated(progress=lambda step, done, total: seen.append(done))
    assert seen[0] == 32
    assert again.path.read_bytes() == calibrated("whole").path.read_bytes()


def test_activations_that_are_too_many_at_once_are_looked_at_in_groups(
    calibrated: Calibrate, monkeypatch: pytest.MonkeyPatch
):
    whole = {method: calibrated("whole", method=method) for method in ("minmax", "entropy")}
    monkeypatch.setattr("enginecrate.builder.quantization.calibration.passes._GROUP_BYTES", 2000)
    for method, one in whole.items():
        assert calibrated("parts", method=method).path.read_bytes() == one.path.read_bytes()


def test_a_table_file_is_read_and_checked(calibrated: Calibrate, tmp_path: Path):
    obtained = calibrated()
    table = load_table(obtained.path)
    assert table == obtained.table
    assert table.encode() == obtained.path.read_bytes()
    with pytest.raises(CalibrationInvalid, match="cannot read"):
        load_table(tmp_path / "none.json")
    for text in ("", "{}", "[1]", obtained.path.read_text()[:-20]):
        (tmp_path / "bad.json").write_text(text)
        with pytest.raises(CalibrationInvalid, match="not a calibration table"):
            load_table(tmp_path / "bad.json")
    document = json.loads(obtained.path.read_text())
    document["key"]["format"] = 99
    (tmp_path / "new.json").write_text(json.dumps(document))
    with pytest.raises(CalibrationInvalid, match="has the format 99"):
        load_table(tmp_path / "new.json")


def test_a_table_of_something_else_is_refused(calibrated: Calibrate):
    table: CalibrationTable = calibrated().table
    graph, pipeline = table.key.graph, table.key.pipeline
    table.check(graph=graph, pipeline=pipeline)
    with pytest.raises(CalibrationInvalid, match="another graph"):
        table.check(graph=pipeline, pipeline=pipeline)
    with pytest.raises(CalibrationInvalid, match="another pipeline"):
        table.check(graph=graph, pipeline=graph)


def test_a_cache_that_cannot_be_written_is_an_error(root: Path, photos: Path, tmp_path: Path):
    (tmp_path / "file").write_text("in the way")
    chosen = settings(tmp_path / "file")
    project: Project = open_project(root, chosen)
    found = read_photos(photos, project.pipeline).photos
    with pytest.raises(CacheUnusable):
        obtain_table(project, project.model, found, settings=chosen)


def test_a_photo_that_vanishes_is_an_error(root: Path, photos: Path, tmp_path: Path):
    chosen = settings(tmp_path / "cache")
    project = open_project(root, chosen)
    found = read_photos(photos, project.pipeline).photos
    gone = replace(found[3], path=tmp_path / "gone.png")
    with pytest.raises(CalibrationInvalid, match="gone"):
        obtain_table(project, project.model, [*found[:3], gone], settings=chosen)
