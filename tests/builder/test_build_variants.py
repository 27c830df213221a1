import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from enginecrate.builder.graphs.graph_inputs import GraphInputs
from enginecrate.builder.graphs.graph_result import GraphResult
from enginecrate.builder.graphs.typed_graphs import obtain_graph
from enginecrate.builder.project.photo_split import find_project_photos
from enginecrate.builder.project.project import open_project
from enginecrate.errors import CalibrationInvalid, EvaluationInvalid
from enginecrate.graph.typed import Scheme
from enginecrate.values import Precision
from running import ROOT, clean_environment
from tiny_project import BLUE, GREEN, RED, make_project, photo, settings

CALIBRATION = (
    '\n[precision]\nmode = "int8"\naccept_few = true\ncalibration = { images = "calibration/" }\n'
)


def colored(root: Path, extra: str = CALIBRATION) -> Path:
    """A project with ten photos to calibrate with."""
    project = make_project(root, extra=extra)
    write_colors(project / "calibration", 10)
    return project


def write_colors(folder: Path, count: int, first: int = 0) -> None:
    folder.mkdir(parents=True)
    for number in range(count):
        color = (RED, GREEN, BLUE)[number % 3]
        shade = tuple(min(255, part + 2 * (number + first)) for part in color)
        (folder / f"{number}.png").write_bytes(photo(shade))


def obtain(project: Path, cache: Path, precision: Precision = Precision.INT8) -> GraphResult:
    with_cache = settings(cache)
    inputs = GraphInputs(open_project(project, with_cache), with_cache)
    return obtain_graph(inputs, precision, Scheme.TENSORRT, with_cache)


def graph_bytes(graph: GraphResult) -> bytes:
    return graph.typed.model.proto.SerializeToString(deterministic=True)


def test_a_repeated_build_takes_the_graph_from_the_cache(tmp_path: Path):
    project = colored(tmp_path / "colors")
    first = obtain(project, tmp_path / "cache")
    steps: list[str] = []
    with_cache = settings(tmp_path / "cache")

    def told(step: str, done: int, total: int) -> None:
        steps.append(step)

    inputs = GraphInputs(open_project(project, with_cache), with_cache, told)
    again = obtain_graph(inputs, Precision.INT8, Scheme.TENSORRT, with_cache, told)
    assert set(steps) == {"read the photos"}
    assert graph_bytes(again) == graph_bytes(first)
    assert again.typed.layers == first.typed.layers
    assert again.evaluation == first.evaluation
    assert again.recovery == first.recovery
    assert again.calibration_digest == first.calibration_digest


def test_a_damaged_graph_is_set_aside_and_made_again(tmp_path: Path):
    project, cache = colored(tmp_path / "colors"), tmp_path / "cache"
    first = obtain(project, cache)
    for path in (cache / "graphs").glob("*/graph.onnx"):
        path.write_bytes(path.read_bytes()[:-7])
    again = obtain(project, cache)
    assert graph_bytes(again) == graph_bytes(first)
    assert len(list((cache / "graphs").glob("*.corrupt"))) == 2  # simplified, and quantised


@pytest.mark.parametrize("precision", [Precision.FP16, Precision.INT8])
def test_the_same_inputs_give_the_same_bytes(tmp_path: Path, precision: Precision):
    """Another folder, clock, locale, umask, hash seed and number of cores: the same files."""
    code = (
        "import sys; from pathlib import Path\n"
        "sys.path[:0] = [sys.argv[4], sys.argv[4] + '/builder']\n"
        "from test_build_variants import obtain\n"
        "from enginecrate.values import Precision\n"
        "obtain(Path(sys.argv[1]), Path(sys.argv[2]), Precision(sys.argv[3]))\n"
    )
    found = []
    for number, (seed, umask) in enumerate((("1", 0o022), ("2", 0o077))):
        project = colored(tmp_path / f"place{number}" / "colors")
        cache = tmp_path / f"cache{number}"
        command = [sys.executable, "-c", code, project, cache, precision, ROOT / "tests"]
        cores = sorted(os.sched_getaffinity(0))[: number + 1]
        subprocess.run(
            ["taskset", "-c", ",".join(map(str, cores)), *command],
            check=True,
            umask=umask,
            env=clean_environment(PYTHONHASHSEED=seed, LC_ALL="C" if number else "C.UTF-8"),
        )
        found.append(
            {
                path.relative_to(cache).as_posix(): path.read_bytes()
                for part in ("graphs", "calibration")
                for path in sorted((cache / part).rglob("*"))
                if path.is_file()
            }
        )
    assert len(found[0]) >= 5
    assert found[0] == found[1]


def test_every_photo_is_on_one_side(tmp_path: Path):
    project = open_project(colored(tmp_path / "colors"), settings(tmp_path / "cache"))
    photos = find_project_photos(project)
    assert (len(photos.calibration), len(photos.examined)) == (8, 2)
    assert not {one.digest for one in photos.calibration} & {one.digest for one in photos.examined}


def test_photos_that_also_calibrate_do_not_examine(tmp_path: Path):
    extra = CALIBRATION + 'accuracy = { images = "examined/" }\n'
    root = colored(tmp_path / "colors", extra)
    write_colors(root / "examined", 3, first=40)
    shutil.copy(root / "calibration" / "0.png", root / "examined" / "the-same.png")
    photos = find_project_photos(open_project(root, settings(tmp_path / "cache")))
    assert len(photos.calibration) == 10
    assert [one.name for one in photos.examined] == ["0.png", "1.png", "2.png"]

    for one in photos.examined:
        one.path.unlink()
    with pytest.raises(EvaluationInvalid, match=r"accuracy\.images: all 1 photos are calibration"):
        find_project_photos(open_project(root, settings(tmp_path / "cache")))


def test_int8_without_photos_says_what_is_missing(tmp_path: Path):
    project = make_project(tmp_path / "colors")
    with pytest.raises(CalibrationInvalid, match=r"calibration = \{ images"):
        obtain(project, tmp_path / "cache")


def test_fp16_needs_no_photos(tmp_path: Path):
    graph = obtain(make_project(tmp_path / "colors"), tmp_path / "cache", Precision.FP16)
    assert graph.typed.precision is Precision.FP16
    assert graph.evaluation is not None
    assert graph.evaluation.agreement.value is None


def test_another_gate_is_another_graph(tmp_path: Path):
    project, cache = colored(tmp_path / "colors"), tmp_path / "cache"
    obtain(project, cache)
    before = len(list((cache / "graphs").iterdir()))
    manifest = (project / "enginecrate.toml").read_text()
    (project / "enginecrate.toml").write_text(manifest + "accuracy = { min_agreement = 0.9 }\n")
    obtain(project, cache)
    assert len(list((cache / "graphs").iterdir())) == before + 2
