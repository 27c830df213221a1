"""A build that is killed at any moment and run again ends as if nothing had happened."""

import random
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest

from enginecrate.builder.report.report import BuildReport
from enginecrate.builder.run import run_build
from enginecrate.engines.cache.plans import PlanStore
from enginecrate.settings import Settings
from tiny_project import settings

BUILD = """
import sys
from pathlib import Path
from enginecrate.builder.run import run_build
from enginecrate.settings import load_settings
flags = {"cache_dir": sys.argv[2], "engine_threads": 1}
run_build(
    Path(sys.argv[1]),
    load_settings(environment={}, flags=flags),
    lambda step, done, total: print(step, done, flush=True),
)
"""
KILLS = 8


def start(project: Path, cache: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", BUILD, str(project), str(cache)]
    return subprocess.Popen(command, stdout=subprocess.PIPE)


def count_steps(project: Path, cache: Path) -> int:
    with start(project, cache) as process:
        assert process.stdout
        steps = len(process.stdout.readlines())
    assert process.returncode == 0
    return steps


def kill_after(project: Path, cache: Path, steps: int, seconds: float) -> None:
    """Kill a build a moment after it has told about so many of its steps."""
    with start(project, cache) as process:
        assert process.stdout
        for _ in range(steps):
            process.stdout.readline()
        with suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
        process.kill()


def check_whole(project: Path, cache: Path) -> None:
    """Whatever is there under its final name is complete."""
    report = project / "build" / "report.json"
    if report.exists():
        msgspec.json.decode(report.read_bytes(), type=BuildReport)
        assert (project / "build" / "report.html").read_text().endswith("</html>\n")
    for folder in (cache / "plans").glob("[0-9a-f]*"):
        assert PlanStore(cache).get(folder.name) is not None


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def twin(proven: Path, tmp_path: Path) -> Path:
    """A copy of the project, for the build that is killed."""
    return Path(shutil.copytree(proven, tmp_path / "twin" / "colors"))


def test_killed_builds_leave_no_trace(proven: Path, twin: Path, tmp_path: Path):
    clean_cache, killed_cache = tmp_path / "clean", tmp_path / "killed"
    steps = count_steps(proven, clean_cache)
    rng = random.Random(20261122)
    for number in range(KILLS):
        if number % 3 == 2:  # the beginning, too, and not only what the cache leaves to do
            shutil.rmtree(killed_cache, ignore_errors=True)
        kill_after(twin, killed_cache, rng.randrange(steps + 1), rng.uniform(0, 0.2))
        check_whole(twin, killed_cache)
    again: Settings = settings(killed_cache)
    survivor = run_build(twin, again)
    clean = run_build(proven, settings(clean_cache))
    assert survivor.result == clean.result
    assert survivor.verdict == clean.verdict == "proven"
    assert files(twin) == files(proven)
    assert files(killed_cache) == files(clean_cache)
