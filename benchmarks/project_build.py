"""How long a project takes to build from an empty cache, step by step.

    python benchmarks/project_build.py
    python benchmarks/project_build.py --source OLD/src --source src --rounds 3
    python benchmarks/project_build.py --photos 500

Builds the detection sample for the CPU and for five GPUs in three precisions, each time in a
process of its own, with a new project folder and an empty cache. TensorRT-RTX builds for GPUs that
are not here. With several sources, which are the `src` folders of checkouts, each round builds with
all of them in turn: whatever else the machine does then slows all of them alike. Processor seconds
count all cores, and say more than the clock on a machine that does other work, too. The sample has
7 photos to calibrate with; --photos makes more of them by cutting pieces out of these.

Prediction for handling photos, the FP32 reference and equal plans once per build, written before it
was measured: 20 to 25 % fewer processor seconds for the sample. Measured: 16 %. For 500 photos: a
fifth of the time to read them, and of the time of the reference. Measured: a fifth, and a third.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

from machine import describe

ROOT = Path(__file__).resolve().parent.parent
STACKS = ("ort-cpu", "trtrtx17-cuda130")
GPUS = ("sm75", "sm80", "sm86", "sm89", "sm120")
PRECISIONS = ("fp32", "fp16", "int8")
BETWEEN = "between the steps"
MODULES = {
    "run_build": ("builder.run", "build.run"),
    "select": ("builder.project.overrides", "build.selection"),
}
"""Where each function is: in this checkout, and in older ones."""


class Watch:
    """Adds up the seconds between two reports of progress, by the step that was under way."""

    def __init__(self) -> None:
        self.steps: dict[str, list[float]] = {}
        self._step = BETWEEN
        self._last = time.perf_counter(), processor_seconds()

    def __call__(self, step: str, done: int, total: int) -> None:
        self.lap()
        self._step = BETWEEN if done >= total else step

    def lap(self) -> None:
        now = time.perf_counter(), processor_seconds()
        spent = self.steps.setdefault(self._step, [0.0, 0.0])
        for index in (0, 1):
            spent[index] += now[index] - self._last[index]
        self._last = now


def processor_seconds() -> float:
    """Of this process, and of those that it started and that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def build_here(project: Path, cache: Path) -> None:
    """Build in this process, and print the steps and what was built as JSON."""
    from enginecrate.settings import load_settings

    select, run_build = load("select"), load("run_build")
    chosen = partial(select, stacks=STACKS, gpus=GPUS, precisions=PRECISIONS)
    settings = load_settings(flags={"cache_dir": str(cache)})
    watch = Watch()
    report = run_build(project, settings, watch, select=chosen)
    watch.lap()
    plans = [one.plan.graph_digest if one.plan else "" for one in report.result.targets]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(json.dumps({"steps": watch.steps, "graphs": plans, "peak_mib": peak}))


def load(function: str) -> Any:
    """A function of whichever version of the package is on the path."""
    new, old = MODULES[function]
    module = new if importlib.util.find_spec("enginecrate.builder") else old
    return getattr(importlib.import_module(f"enginecrate.{module}"), function)


def cut_photos(folder: Path, wanted: int) -> None:
    """Cut pieces of three quarters of the size out of the photos, the same ones each time."""
    from PIL import Image

    sources = sorted(folder.iterdir())
    for number in range(wanted - len(sources)):
        with Image.open(sources[number % len(sources)]) as photo:
            width, height = (3 * size // 4 for size in photo.size)
            left = number * 7 % (photo.width - width)
            top = number * 3 % (photo.height - height)
            piece = photo.convert("RGB").crop((left, top, left + width, top + height))
            piece.save(folder / f"piece{number}.jpg", quality=90)


def build(source: Path, photos: int) -> dict[str, Any]:
    """Build a copy of the sample with the code of one checkout."""
    with tempfile.TemporaryDirectory() as name:
        project = Path(name, "project")
        ignored = shutil.ignore_patterns("build")
        shutil.copytree(ROOT / "samples" / "detection", project, ignore=ignored)
        cut_photos(project / "calibration", photos)
        done = subprocess.run(
            [sys.executable, __file__, "--child", project, Path(name, "cache")],
            env=os.environ | {"PYTHONPATH": str(source)}, stdout=subprocess.PIPE, check=True,
        )  # fmt: skip
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def show(sources: list[Path], runs: dict[Path, list[dict[str, Any]]]) -> None:
    """Medians over the rounds, by step."""
    steps = dict.fromkeys(
        step for source in sources for run in runs[source] for step in run["steps"]
    )
    print("| step |" + "".join(f" {source} |" for source in sources))
    print("|---|" + "---|" * len(sources))
    for step in (*steps, "all"):
        cells = []
        for source in sources:
            spent = [seconds_of(run["steps"], step) for run in runs[source]]
            clock, processor = (statistics.median(one[index] for one in spent) for index in (0, 1))
            cells.append(f" {clock:.1f} ({processor:.1f}) |")
        print(f"| {step} |" + "".join(cells))


def seconds_of(steps: dict[str, list[float]], step: str) -> tuple[float, float]:
    if step != "all":
        clock, processor = steps.get(step, [0.0, 0.0])
        return clock, processor
    return sum(one[0] for one in steps.values()), sum(one[1] for one in steps.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--source", type=Path, action="append", help="src folder of a checkout")
    parser.add_argument("--rounds", type=int, default=1, help="builds with each source")
    parser.add_argument("--photos", type=int, default=0, help="at least so many to calibrate with")
    given = parser.parse_args()
    sources = [path.resolve() for path in given.source or [ROOT / "src"]]
    packages = ("numpy", "onnx", "onnxruntime", "tensorrt_rtx_cu13_libs")
    print(f"{describe(*packages)}; {time.strftime('%Y-%m-%d')}\n")
    runs: dict[Path, list[dict[str, Any]]] = {source: [] for source in sources}
    for number in range(given.rounds):
        for source in sources:
            load_before = os.getloadavg()[0]
            run = build(source, given.photos)
            runs[source].append(run)
            clock, processor = seconds_of(run["steps"], "all")
            print(
                f"round {number + 1}, {source}: {clock:.1f} s, {processor:.1f} processor seconds, "
                f"peak {run['peak_mib']} MiB; load {load_before:.1f} before, "
                f"{os.getloadavg()[0]:.1f} after",
                flush=True,
            )
    same = len({tuple(run["graphs"]) for source in sources for run in runs[source]}) == 1
    print(f"\n{'equal' if same else 'DIFFERENT'} graphs in all builds\n")
    print("Seconds (processor seconds), medians:\n")
    show(sources, runs)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        build_here(Path(sys.argv[2]), Path(sys.argv[3]))
    else:
        main()
