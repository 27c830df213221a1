"""The same build twice under other circumstances gives the same bytes."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from other_clock import other_clock

pytestmark = [pytest.mark.full, pytest.mark.timeout(900)]

ROOT = Path(__file__).parents[2]
TARGETS = [
    *("--stack", "trtrtx17-cuda130,ort-cpu"),
    *("--gpu", "T4,L4"),
    *("--precision", "fp32,fp16,int8"),
]
KEPT = ("plans", "graphs", "calibration")


@pytest.fixture(scope="module")
def clock(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Makes a program see a moment years ahead."""
    return other_clock(tmp_path_factory.mktemp("faketime") / "clock")


def build(project: Path, cache: Path, environment: dict[str, str], umask: int, cores: set[int]):
    def prepare() -> None:
        os.umask(umask)
        os.sched_setaffinity(0, cores)

    command = [Path(sys.executable).with_name("enginecrate"), "build", "--json", *TARGETS]
    done = subprocess.run(
        [*command, "--cache-dir", str(cache)],
        cwd=project,
        env=os.environ | {"ENGINECRATE_BUILD_JOBS": str(len(cores))} | environment,
        preexec_fn=prepare,
        capture_output=True,
        text=True,
        timeout=800,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def digests(cache: Path) -> dict[str, str]:
    return {
        str(path.relative_to(cache)): hashlib.sha256(path.read_bytes()).hexdigest()
        for folder in KEPT
        for path in sorted((cache / folder).rglob("*"))
        if path.is_file() and path.suffix in (".onnx", ".json", ".engine")
    }


UNSTEADY = "another build of the same graph may give other bytes"


def unsteady(cache: Path) -> set[str]:
    """Files of plans whose builder says that it does not repeat itself."""
    sidecars = (cache / "plans").glob("*/plan.json")
    folders = [path.parent for path in sidecars if UNSTEADY in path.read_text()]
    return {str(path.relative_to(cache)) for folder in folders for path in folder.iterdir()}


def without_unsteady_digests(report: dict[str, Any]) -> dict[str, Any]:
    for target in report["result"]["targets"]:
        if target["asked"] == "int8" and target["backend"] == "tensorrt_rtx":
            del target["plan"]["plan_digest"], target["plan"]["plan_bytes"]
    return report["result"]


@pytest.mark.parametrize("sample", ["detection", "classification"])
def test_the_same_bytes(sample: str, tmp_path: Path, clock: dict[str, str]):
    one, other = tmp_path / "one", tmp_path / "far" / "away" / "another place"
    for folder in (one, other):
        project = shutil.copytree(ROOT / "samples" / sample, folder / "project")
        manifest = (project / "enginecrate.toml").read_text()  # a sample has few photos
        accepting = manifest.replace("[precision]\n", "[precision]\naccept_few = true\n")
        (project / "enginecrate.toml").write_text(accepting)
    cores = os.sched_getaffinity(0)
    first = build(
        one / "project",
        one / "cache",
        {"PYTHONHASHSEED": "1", "LC_ALL": "C.UTF-8", "TZ": "UTC"},
        0o022,
        cores,
    )
    second = build(
        other / "project",
        other / "cache",
        {"PYTHONHASHSEED": "4711", "LC_ALL": "POSIX", "TZ": "Asia/Kolkata", **clock},
        0o077,
        {min(cores)},
    )
    assert "2031" in second["run"]["finished"]
    expected, found = digests(one / "cache"), digests(other / "cache")
    loose = unsteady(one / "cache") & unsteady(other / "cache")
    assert found.keys() == expected.keys()
    assert {name for name in expected if found[name] != expected[name]} <= loose
    assert len(loose) == 4  # int8 for two GPUs: the plan and its sidecar
    assert without_unsteady_digests(second) == without_unsteady_digests(first)
