"""Plans that are built in a process of their own: watched, in the background, alone."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from enginecrate.builder.ladder.child_main import rung_name
from enginecrate.builder.ladder.steps import ProjectStep, open_ladder
from enginecrate.builder.project.project import open_project
from enginecrate.engines.backends import get_backend
from enginecrate.engines.base import Plan, RunOptions
from enginecrate.engines.cache.plans import PlanStore
from enginecrate.errors import BuildOutOfMemory, EnginecrateError, ModelInvalid, PlanBuildFailed
from enginecrate.settings import Settings, load_settings
from tiny_project import make_project

MODULE = """
import os
from pathlib import Path
from enginecrate.pipelines.classification import ClassificationPipeline

HERE = Path(__file__).parent

class Pipeline(ClassificationPipeline):
    def __init__(self, *arguments, **named):
        super().__init__(*arguments, **named)
        if "child_main" in " ".join(os.sys.orig_argv):
            (HERE / "pid").write_text(str(os.getpid()))
            %s
"""
WAIT = "(HERE / 'gate').open('rb').read()"


def settings(cache: Path, **flags: object) -> Settings:
    return load_settings(environment={}, flags={"cache_dir": cache.as_posix(), **flags})


def step_of(root: Path, at: Settings) -> ProjectStep:
    """The step of FP32, as if it took long."""
    (step,) = open_ladder(open_project(root, at), at).steps
    assert isinstance(step, ProjectStep)
    step.quick = False
    return step


def acting(root: Path, action: str) -> Path:
    """A project whose own pipeline does something in the process that builds."""
    make_project(root, extra='module = "acting:Pipeline"\n')
    (root / "acting.py").write_text(MODULE % action)
    os.mkfifo(root / "gate")
    return root


def wait_for(wanted: Callable[[], bool]) -> None:
    for _ in range(1500):
        if wanted():
            return
        threading.Event().wait(0.02)
    raise AssertionError("it never came")


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def check_runs(plan: Plan) -> None:
    engine = get_backend(plan.info.backend).load(plan, RunOptions(threads=1))
    outputs = engine.run({"image": np.zeros((1, 3, 8, 8), np.float32)})
    assert outputs["logits"].shape == (1, 3)
    engine.close()


def test_a_plan_is_built_found_again_and_replaced_when_damaged(project: Path, tmp_path: Path):
    at = settings(tmp_path / "cache")
    step = step_of(project, at)
    assert step.find() is None
    steps: list[str] = []
    plan = step.build(lambda words, done, total: steps.append(words))
    assert "simplify the graph" in steps
    check_runs(plan)
    assert step_of(project, at).find() == plan
    other = make_project(tmp_path / "other", turn=1)
    assert step_of(other, at).find() is None
    plan.path.write_bytes(b"x" * plan.info.plan_bytes)
    assert step_of(project, at).find() is None
    assert plan.path.parent.with_name(f"{plan.path.parent.name}.corrupt").is_dir()
    assert step_of(project, at).build_here(lambda *_: None) == plan
    check_runs(plan)


def test_only_one_process_builds(project: Path, tmp_path: Path):
    """This process holds the lock and builds; the child waits, and takes what is there then."""
    at = settings(tmp_path / "cache")
    step = step_of(project, at)
    waits = threading.Event()
    plans: list[Plan] = []

    def progress(words: str, done: int, total: int) -> None:
        if words.startswith("wait for another process"):
            waits.set()

    with PlanStore(at.cache_path).building(rung_name(open_project(project, at), step.target)):
        child = threading.Thread(target=lambda: plans.append(step.build(progress)))
        child.start()
        assert waits.wait(60)
        mine = step_of(project, at).build_here(lambda *_: None)
        inode = mine.path.stat().st_ino
    child.join(60)
    assert plans == [mine]
    assert mine.path.stat().st_ino == inode


def test_without_room_in_the_cache_the_plan_stays_in_memory(project: Path, tmp_path: Path):
    at = settings(tmp_path / "cache", cache_max_bytes=10)
    for build in (step_of(project, at).build, step_of(project, at).build_here):
        plan = build(lambda *_: None)
        assert at.cache_path not in plan.path.parents
        check_runs(plan)
    assert step_of(project, at).find() is None
    assert not list((at.cache_path / "plans").glob("[0-9a-f]*"))


def test_a_build_is_stopped_with_all_that_it_started(tmp_path: Path):
    root = acting(tmp_path / "p", "import subprocess; subprocess.run(['sleep', '1000'])")
    at = settings(tmp_path / "cache")
    step = step_of(root, at)
    threading.Thread(target=lambda: (wait_for((root / "pid").exists), step.stop())).start()
    with pytest.raises(PlanBuildFailed, match="was stopped"):
        step.build(lambda *_: None)
    pid = int((root / "pid").read_text())
    wait_for(lambda: not sleepers(pid))
    with pytest.raises(PlanBuildFailed, match="was stopped"):
        step.build(lambda *_: None)


def sleepers(group: int) -> list[str]:
    """Processes of a group."""
    fields = [
        path.read_text().rpartition(")")[2].split()
        for path in Path("/proc").glob("[0-9]*/stat")
        if is_alive(int(path.parent.name))
    ]
    return [one[0] for one in fields if int(one[2]) == group]


PARENT = """
import sys
from pathlib import Path
from enginecrate.builder.ladder.steps import open_ladder
from enginecrate.builder.project.project import open_project
from enginecrate.settings import load_settings
at = load_settings(environment={}, flags={"cache_dir": sys.argv[2]})
(step,) = open_ladder(open_project(Path(sys.argv[1]), at), at).steps
step.quick = False
step.build(lambda *_: None)
"""


def test_a_build_ends_with_its_server_however_that_ends(tmp_path: Path):
    root = acting(tmp_path / "p", WAIT)
    command = [sys.executable, "-c", PARENT, str(root), str(tmp_path / "cache")]
    with subprocess.Popen(command) as parent:
        wait_for(lambda: (root / "pid").exists() and (root / "pid").read_text() != "")
        pid = int((root / "pid").read_text())
        assert os.getsid(pid) == pid  # Ctrl-C on the server's terminal does not reach it
        assert os.getpriority(os.PRIO_PROCESS, pid) > os.getpriority(os.PRIO_PROCESS, parent.pid)
        parent.send_signal(signal.SIGKILL)
        parent.wait(10)
        wait_for(lambda: not is_alive(pid))


def test_a_build_that_takes_too_much_memory_is_stopped(tmp_path: Path):
    root = acting(tmp_path / "p", f"held = bytearray(600 << 20); {WAIT}")
    at = settings(tmp_path / "cache", build_memory_bytes=400 << 20)
    with pytest.raises(BuildOutOfMemory, match=r"more than the 400 MiB .* build_memory_bytes"):
        step_of(root, at).build(lambda *_: None)
    assert not is_alive(int((root / "pid").read_text()))


@pytest.mark.parametrize(
    ("action", "error", "message"),
    [
        ("os.kill(os.getpid(), 9)", BuildOutOfMemory, "its process was killed"),
        ("os._exit(3)", PlanBuildFailed, r"without a plan \(status 3\): no message"),
        ("os.abort()", PlanBuildFailed, r"without a plan \(status -6\)"),
        ("print('noise'); 1 / 0", EnginecrateError, "ZeroDivisionError"),
    ],
)
def test_a_process_that_dies(tmp_path: Path, action: str, error: type[Exception], message: str):
    root = acting(tmp_path / "p", action)
    with pytest.raises(error, match=message):
        step_of(root, settings(tmp_path / "cache")).build(lambda *_: None)


def test_errors_are_those_of_the_build_itself(project: Path, tmp_path: Path):
    step = step_of(project, settings(tmp_path / "cache"))
    (project / "colors.onnx").write_bytes(b"broken")
    with pytest.raises(ModelInvalid, match=r"colors\.onnx"):
        step.build(lambda *_: None)


def test_a_stop_before_the_start(project: Path, tmp_path: Path):
    step = step_of(project, settings(tmp_path / "cache"))
    step.stop()
    with pytest.raises(PlanBuildFailed, match="was stopped"):
        step.build(lambda *_: None)
