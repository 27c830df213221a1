"""Ctrl-C while plans are built side by side: the program ends soon, and leaves nothing behind."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from enginecrate.engines.cache.plans import PlanStore
from tiny_project import make_project

BUILD = """
import sys
from functools import partial
from pathlib import Path
from enginecrate.builder.run import run_build
from enginecrate.builder.project.overrides import select
from enginecrate.settings import load_settings
flags = {"cache_dir": sys.argv[2], "build_jobs": 2}
run_build(
    Path(sys.argv[1]),
    load_settings(environment={}, flags=flags),
    lambda step, done, total: print(step, done, flush=True),
    select=partial(
        select, stacks=["ort-cpu", "trtrtx17-cuda130"], gpus=["A100", "A10", "L4", "12.0"]
    ),
)
"""
PATIENCE = 20
"""Seconds; all plans together take less, so what counts is what is left."""


def descendants(pid: int) -> list[int]:
    """Children of every thread, since a child belongs to the thread that started it."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        found += [int(one) for one in (task / "children").read_text().split()]
    return found


@pytest.mark.parametrize("finished", [0, 1])
def test_ctrl_c_ends_the_builds(tmp_path: Path, finished: int):
    project, cache = make_project(tmp_path / "colors"), tmp_path / "cache"
    command = [sys.executable, "-c", BUILD, str(project), str(cache)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stderr
        for line in process.stdout:
            if line == f"build the plans {finished}\n".encode():
                break
        builders = wait_for_builders(process)
        process.send_signal(signal.SIGINT)
        said = process.stderr.read()
        process.wait(PATIENCE)
    assert process.returncode != 0
    assert b"KeyboardInterrupt" in said
    assert builders
    assert not [pid for pid in builders if Path(f"/proc/{pid}").exists()]
    assert not (project / "build").exists()
    plans = list((cache / "plans").iterdir())
    assert len(plans) < 6  # it did not go on to the end
    for path in plans:
        assert not path.name.startswith("."), "a lock or a half-made plan was left"
        assert PlanStore(cache).get(path.name) is not None


def wait_for_builders(process: "subprocess.Popen[bytes]") -> list[int]:
    """Processes that the build has started; the first one comes at once."""
    while process.poll() is None:
        found = descendants(process.pid)
        if found:
            return found
        os.sched_yield()
    return []
