"""The whole ladder of a real project: FP32 serves at once, FP16 is built in the background."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from test_server_lifecycle import run_to_its_end

from enginecrate.errors import StackUnsupported
from tiny_project import RED, make_project, photo


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return make_project(tmp_path / "colors", extra='[precision]\nmode = "fp16"\n')


WAITING = """
import os
from pathlib import Path
from enginecrate.pipelines.classification import ClassificationPipeline

HERE = Path(__file__).parent

class Pipeline(ClassificationPipeline):
    def __init__(self, *arguments, **named):
        super().__init__(*arguments, **named)
        if "enginecrate.builder.ladder.child_main" in os.sys.orig_argv:
            with (HERE / "pid").open("w") as file:
                file.write(f"{os.getpid()}\\n")
            (HERE / "gate").open("rb").read()
"""


def is_serving(precision: str):
    """True for a log record that says that this rung serves."""
    return lambda record: record["message"].startswith(f"serving with ort-cpu, {precision} for cpu")


def rungs(server) -> list[str]:
    with server.client() as client:
        ladder = client.get("/v1/status").json()["ladder"]
    return [f"{rung['precision']} {rung['state']}" for rung in ladder["steps"]]


def said(server, word: str) -> list[str]:
    return [one["message"] for one in server.records() if one["message"].startswith(word)]


def test_the_second_start_begins_where_the_first_one_ended(launch, project, tmp_path):
    cache = tmp_path / "own"
    first = launch(project, cache_dir=cache)
    first.wait_for_log(is_serving("fp32"))
    plan = first.wait_for_log(is_serving("fp16"))["plan"].removeprefix("sha256:")
    assert rungs(first) == ["fp16 serving", "fp32 replaced"]
    first.stop()

    second = launch(project, cache_dir=cache)
    second.wait_for_log(is_serving("fp16"))
    assert rungs(second) == ["fp16 serving", "fp32 not needed"]
    assert said(second, "build") == []
    second.stop()

    (damaged,) = [
        path for path in (cache / "plans").glob("*/plan.onnx") if plan in path_digests(path)
    ]
    damaged.write_bytes(b"damaged")
    third = launch(project, cache_dir=cache)
    third.wait_for_log(is_serving("fp32"))
    assert third.wait_for_log(is_serving("fp16"))["plan"].endswith(plan)
    assert damaged.parent.with_name(f"{damaged.parent.name}.corrupt").is_dir()


def path_digests(plan: Path) -> str:
    return plan.with_name("plan.json").read_text()


def test_without_a_ladder_only_the_best_engine_serves(launch, project, tmp_path):
    server = launch(project, cache_dir=tmp_path / "own", ladder="off")
    server.wait_for_log(is_serving("fp16"))
    assert rungs(server) == ["fp16 serving"]
    assert not said(server, "serving with ort-cpu, fp32")


def test_a_gpu_that_is_wanted_and_not_there_ends_the_server(project, tmp_path):
    done = run_to_its_end(project, tmp_path / "own", minimum_engine="gpu")
    assert done.returncode == 1
    assert StackUnsupported.code in done.stderr
    assert "no engine of the stack ort-cpu may serve here" in done.stderr


def test_a_gpu_stack_without_a_gpu_answers_on_the_cpu_and_is_not_ready(launch, project, tmp_path):
    manifest = (project / "enginecrate.toml").read_text()
    stacks = '[targets]\nstacks = ["ort-cuda130"]\n'
    (project / "enginecrate.toml").write_text(f"{manifest}{stacks}")
    server = launch(project, ready=False, cache_dir=tmp_path / "own")
    told = server.wait_for_log(lambda record: record["message"].startswith("never ready"))
    assert told["level"] == "warning"
    assert "ENGINECRATE_MINIMUM_ENGINE=cpu" in told["message"]
    with server.client() as client:
        answer = client.get("/v2/health/ready")
        ready = answer.json()
        assert (answer.status_code, ready["ready"], ready["state"]) == (503, False, "degraded")
        assert ready["engine"]["device"] == "cpu"
        assert "only the CPU engine of ort-cuda130" in ready["reason"]
        assert client.get("/v2/health/live").status_code == 200
        assert client.get("/v1/status").json()["golden"]["state"] == "unproven"
        assert client.post("/v1/predict", content=photo(RED)).json()["engine"]["device"] == "cpu"
        assert 'device="cpu"' in client.get("/metrics").text


def test_prediction_without_a_server_takes_the_best_engine(project, tmp_path):
    code = (
        "import sys; from pathlib import Path; from enginecrate import load_settings\n"
        "from enginecrate.builder.ladder.steps import ensure_plan\n"
        "from enginecrate.builder.project.project import open_project\n"
        "at = load_settings(environment={}, flags={'cache_dir': sys.argv[2]})\n"
        "print(ensure_plan(open_project(Path(sys.argv[1]), at), at).info.precision)"
    )
    command = [sys.executable, "-c", code, str(project), str(tmp_path / "own")]
    assert subprocess.run(command, capture_output=True, text=True).stdout == "fp16\n"


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_build_in_the_background_ends_with_the_server(launch, project, tmp_path, how):
    manifest = (project / "enginecrate.toml").read_text()
    manifest = manifest.replace("[precision]", 'module = "waiting:Pipeline"\n[precision]')
    (project / "enginecrate.toml").write_text(manifest)
    (project / "waiting.py").write_text(WAITING)
    os.mkfifo(project / "pid")
    os.mkfifo(project / "gate")
    server = launch(project, cache_dir=tmp_path / "own")
    with (project / "pid").open() as file:
        child = int(file.readline())
    server.process.send_signal(how)
    assert server.process.wait(10) == (-how if how is signal.SIGKILL else 0)
    for _ in range(1000):
        if not Path(f"/proc/{child}").exists():
            return
        threading.Event().wait(0.01)
    raise AssertionError("the build goes on without its server")
