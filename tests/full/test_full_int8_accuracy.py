"""CPU INT8 of both samples, on photos that were not used for calibration.

The photos come from Debian's package opencv-doc. The figures are printed.
"""

import os
import shutil
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from enginecrate.builder.accuracy.candidates import load_candidate
from enginecrate.builder.accuracy.evaluation import Evaluation, Evaluator, evaluation_samples
from enginecrate.builder.graphs.graph_inputs import GraphInputs
from enginecrate.builder.graphs.graph_result import GraphResult
from enginecrate.builder.graphs.typed_graphs import obtain_graph
from enginecrate.builder.project.photos import find_photos
from enginecrate.builder.project.project import Project, open_project
from enginecrate.graph.typed import Scheme
from enginecrate.settings import load_settings
from enginecrate.values import Precision
from running import ROOT, SAMPLES

pytestmark = [pytest.mark.full, pytest.mark.timeout(900)]

FOLDERS = ("calibration", "evaluation", "untouched")


@pytest.fixture(scope="module")
def photos() -> Path:
    """The fetched photos; they stay for the next run."""
    home = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser()
    folder = home / "enginecrate-tests" / "evaluation-photos"
    subprocess.run([ROOT / "scripts" / "fetch-evaluation-photos.sh", folder], check=True)
    return folder


def project_with(photos: Path, sample: str, least: float, root: Path) -> Path:
    shutil.copytree(SAMPLES / sample, root, ignore=shutil.ignore_patterns("calibration", "build"))
    for name in FOLDERS:
        shutil.copytree(photos / name, root / name)
    manifest = (root / "enginecrate.toml").read_text()
    accuracy = f'{{ golden = "golden/", images = "evaluation/", min_agreement = {least} }}'
    changed = manifest.replace('accuracy = { golden = "golden/" }', f"accuracy = {accuracy}")
    assert changed != manifest
    # The classifier's figure lies at its gate, which no number of photos could show.
    changed = changed.replace("[precision]\n", "[precision]\naccept_few = true\n")
    (root / "enginecrate.toml").write_text(changed)
    return root


def examine_untouched(project: Project, graph: GraphResult) -> Evaluation:
    """The same comparison on photos that had no say in which layers were kept."""
    samples = evaluation_samples(
        [], find_photos(project.root / "untouched", project.pipeline.task).photos
    )
    with (
        closing(load_candidate(project.model, "simulated")) as reference,
        closing(load_candidate(graph.typed.model, "measured")) as candidate,
    ):
        evaluator = Evaluator(reference, project.pipeline, samples, required=0)
        return evaluator.evaluate(candidate, "measured")


def figures(sample: str, graph: GraphResult, untouched: Evaluation) -> list[str]:
    evaluation, recovery, speed = graph.evaluation, graph.recovery, graph.speed
    assert evaluation is not None
    assert recovery is not None
    assert speed is not None
    return [
        f"\n{sample}, INT8 on the CPU: {evaluation.agreement}",
        *(f"  {figure}" for figure in evaluation.figures[:2]),
        f"  on photos that the gate did not see: {untouched.agreement}",
        *(
            f"  {step.action}: {step.kept} kept, {step.share:.1%} INT8, {step.agreement}"
            for step in recovery.steps
        ),
        f"  INT8 share of the multiply-adds: {recovery.share:.1%}",
        f"  {speed.ratio:.2f} times as fast as FP32: {speed.candidate_ms} ms against "
        f"{speed.baseline_ms} ms\n",
    ]


@pytest.mark.parametrize(("sample", "least"), [("detection", 0.95), ("classification", 0.93)])
def test_int8_on_the_cpu_agrees_with_fp32(
    sample: str,
    least: float,
    photos: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    root = project_with(photos, sample, least, tmp_path / sample)
    settings = load_settings(environment={}, flags={"cache_dir": str(tmp_path / "cache")})
    project = open_project(root, settings)

    graph = obtain_graph(GraphInputs(project, settings), Precision.INT8, Scheme.CPU, settings)

    evaluation, recovery, speed = graph.evaluation, graph.recovery, graph.speed
    assert evaluation is not None
    assert recovery is not None
    assert speed is not None
    untouched = examine_untouched(project, graph)
    with capsys.disabled():
        sys.stdout.write("\n".join(figures(sample, graph, untouched)))
    assert evaluation.photos >= 200
    assert evaluation.proof == "measured"
    assert evaluation.agreement.value is not None
    assert evaluation.agreement.value >= least
    assert evaluation.agreement.low is not None
    assert recovery.share >= 0.6
