"""From the start of the process to its end: loading, proving, serving, overload, stopping."""

import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import httpx
import numpy as np
import onnx
import pytest
from server_process import RunningServer
from tiny_projects import npz, scale_model, write_golden, write_project

from enginecrate.server.healthcheck import check_health

X = np.array([[1, 2, 3, 4]], np.float32)
PAYLOAD = npz(x=X)
PATIENCE = 600
"""Seconds that a server may wait for requests at its end: what ends within `LIMIT` did not wait."""
LIMIT = 30


def expected(values: list[float]) -> dict:
    return {"outputs": [{"name": "y", "datatype": "FP32", "shape": [1, 4], "data": values}]}


@pytest.fixture
def project(tmp_path) -> Path:
    return write_project(tmp_path / "project", scale_model())


class Background:
    """Sends predictions, each in a thread of its own."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.answers: list[httpx.Response] = []
        self._threads: list[threading.Thread] = []

    def send(self, count: int = 1) -> None:
        for _ in range(count):
            thread = threading.Thread(target=self._post)
            thread.start()
            self._threads.append(thread)

    def _post(self) -> None:
        self.answers.append(httpx.post(f"{self.url}/v1/predict", content=PAYLOAD, timeout=30))

    def join(self) -> list[int]:
        for thread in self._threads:
            thread.join(30)
        return sorted(answer.status_code for answer in self.answers)


def test_a_project_whose_golden_sample_passes(launch, project):
    write_golden(project, PAYLOAD, expected([2, 4, 6, 8]))
    server = launch(project)
    with server.client() as client:
        ready = client.get("/v2/health/ready").json()
        status = client.get("/v1/status").json()
    assert ready["ladder"].pop("origin") in ("built here", "cached")  # the cache may be shared
    assert ready == {
        "ready": True, "state": "ready", "golden": "passed",
        "engine": {"backend": "onnxruntime", "precision": "fp32", "device": "cpu",
                   "plan": status["engine"]["plan"]},
        "ladder": {"rung": 1, "rungs": 1, "building": None, "failed": []},
    }  # fmt: skip
    assert status["golden"] == {
        "state": "passed", "samples": 1, "passed": 1,
        "outcomes": [{"name": "sample.npz", "passed": True, "reasons": []}],
    }  # fmt: skip
    assert status["requests"]["executions"] == 0  # proving is not counted
    assert server.stop() == 0


def never_ready(server) -> dict:
    record = server.wait_for_log(lambda record: record["message"].startswith("never ready"))
    assert record["level"] == "error"
    with server.client() as client:
        assert client.get("/v2/health/live").status_code == 200
        answer = client.get("/v2/health/ready")
        assert answer.status_code == 503
        assert client.get("/v2/models/tiny/ready").status_code == 503
        refused = client.post("/v1/predict", content=PAYLOAD)
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        assert "golden" in refused.json()["detail"]
        infer = client.post("/v2/models/tiny/infer", json={"inputs": []})
        assert infer.status_code == 503
        assert client.get("/v2/models/tiny").status_code == 200  # for whoever looks into it
        assert client.get("/v1/status").json()["golden"]["state"] == "failed"
    return answer.json()


def test_a_wrong_expectation_is_never_ready_and_says_why(launch, project):
    write_golden(project, PAYLOAD, expected([2, 4, 6, 9]))
    server = launch(project, ready=False)
    health = never_ready(server)
    assert health["state"] == "failed"
    assert health["golden"] == "failed"
    assert "1 of 1 golden samples gave another result" in health["reason"]
    assert "sample.npz" in health["reason"]
    assert server.stop() == 0


def test_another_model_of_the_same_shape_is_never_ready(launch, project):
    """A swapped file: the cached plan is not used, and the golden sample tells the difference."""
    write_golden(project, PAYLOAD, expected([2, 4, 6, 8]))
    server = launch(project)
    with server.client() as client:
        digest = client.get("/v1/status").json()["engine"]["plan_digest"]
    assert server.stop() == 0
    onnx.save(scale_model(3.0), project / "model.onnx")
    server = launch(project, ready=False)
    assert "golden samples gave another result" in never_ready(server)["reason"]
    with server.client() as client:
        assert client.get("/v1/status").json()["engine"]["plan_digest"] != digest


def test_a_project_without_golden_samples_is_ready_and_says_unproven(launch, project):
    server = launch(project)
    record = server.wait_for_log(lambda record: "unproven" in record["message"])
    assert record["level"] == "warning"
    with server.client() as client:
        assert client.get("/v2/health/ready").json()["golden"] == "unproven"


def test_alive_but_not_ready_while_loading(launch, tmp_path):
    """The project's own pipeline holds up loading until it is told to go on."""
    project = write_project(tmp_path / "slow", scale_model(), pipeline='module = "slow:Pipeline"')
    (project / "slow.py").write_text(
        "from pathlib import Path\n"
        "from enginecrate.pipelines.tensors import TensorsPipeline\n"
        "class Pipeline(TensorsPipeline):\n"
        "    def __init__(self, *arguments):\n"
        "        with Path(__file__).with_name('gate').open('rb') as gate:\n"
        "            gate.read()\n"
        "        super().__init__(*arguments)\n"
    )
    os.mkfifo(project / "gate")
    server = launch(project, ready=False)
    descriptor = os.open(project / "gate", os.O_WRONLY)
    with server.client() as client:
        assert client.get("/v2/health/live").json() == {"live": True}
        ready = client.get("/v2/health/ready")
        assert (ready.status_code, ready.json()["state"]) == (503, "loading")
        assert client.get("/v2/models/tiny").status_code == 503
        assert client.post("/v1/predict", content=PAYLOAD).status_code == 503
        status = client.get("/v1/status").json()
        assert (status["state"], status["engine"]) == ("loading", None)
        assert client.get("/metrics").status_code == 200
        os.close(descriptor)
        server.wait_until_ready()
        assert client.get("/v2/health/ready").status_code == 200


def test_it_stops_while_it_is_loading(launch, tmp_path):
    project = write_project(tmp_path / "slow", scale_model(), pipeline='module = "slow:Pipeline"')
    (project / "slow.py").write_text(
        "from pathlib import Path\n"
        "class Pipeline:\n"
        "    def __init__(self, *arguments):\n"
        "        Path(__file__).with_name('gate').open('rb')\n"
    )
    os.mkfifo(project / "gate")
    server = launch(project, ready=False, shutdown_seconds=PATIENCE)
    assert server.stop() == 0  # the gate is still shut


def test_running_requests_are_answered_on_sigterm(launch, gated):
    project, gate = gated
    server = launch(project, decode_threads=1, shutdown_seconds=PATIENCE)
    background = Background(server.url)
    background.send(3)
    gate.wait_for_request()
    wait_until_queued(server, 2)
    server.process.send_signal(signal.SIGTERM)
    server.wait_for_log(lambda record: record["message"].startswith("stopping"))
    assert refuses_connections(server.port)
    gate.open()
    assert background.join() == [200, 200, 200]
    assert server.process.wait(LIMIT) == 0
    assert server.records()[-1]["message"] == "stopped"


def wait_until_queued(server, count: int) -> None:
    """Wait until so many predictions wait for a thread or an engine."""
    with server.client() as client:
        for _ in range(500):
            if client.get("/v1/status").json()["queue"]["depth"] == count:
                return
            threading.Event().wait(0.01)
    raise AssertionError(f"never did {count} requests wait")


def refuses_connections(port: int) -> bool:
    for _ in range(200):
        try:
            socket.create_connection(("127.0.0.1", port), timeout=5).close()
        except ConnectionRefusedError:
            return True
        threading.Event().wait(0.02)
    return False


def test_a_request_that_hangs_does_not_hold_up_the_end(launch, gated):
    project, gate = gated
    server = launch(project, shutdown_seconds=1)
    background = Background(server.url)
    background.send()
    gate.wait_for_request()
    assert server.stop() == 0  # the gate is still shut
    assert background.join() == [503]
    assert "the server is stopping" in background.answers[0].json()["detail"]
    gate.open()


def test_a_second_interrupt_ends_at_once(launch, gated):
    project, gate = gated
    server = launch(project, shutdown_seconds=PATIENCE)
    background = threading.Thread(target=lambda: httpx_post_ignoring_errors(server.url))
    background.start()
    gate.wait_for_request()
    server.process.send_signal(signal.SIGINT)
    server.wait_for_log(lambda record: record["message"].startswith("stopping"))
    server.process.send_signal(signal.SIGINT)
    assert server.process.wait(LIMIT) == 130  # the gate is still shut
    background.join(10)
    gate.open()


def httpx_post_ignoring_errors(url: str) -> None:
    try:
        httpx.post(f"{url}/v1/predict", content=PAYLOAD)
    except httpx.TransportError:
        return


def test_too_many_requests_are_refused(launch, gated):
    """One is being decoded, one may wait."""
    project, gate = gated
    server = launch(project, decode_threads=1, max_pending=1)
    background = Background(server.url)
    background.send()
    gate.wait_for_request()
    with server.client() as client:
        background.send()
        wait_until_queued(server, 1)
        refused = client.post("/v1/predict", content=PAYLOAD)
        assert refused.status_code == 429
        assert refused.headers["retry-after"] == "1"
        assert "max_pending" in refused.json()["detail"]
        gate.open()
        assert background.join() == [200, 200]
        assert client.get("/v1/status").json()["requests"]["failed"]["REJECTED"] == 1


def test_a_request_that_takes_too_long(launch, gated):
    project, gate = gated
    server = launch(project, request_timeout_seconds=0.5)
    background = Background(server.url)
    background.send()
    gate.wait_for_request()
    assert background.join() == [504]
    detail = background.answers[0].json()["detail"]
    assert "not done within 0.5 seconds (setting request_timeout_seconds)" in detail
    gate.open()


def test_a_failure_of_ours_is_told_in_the_log_only(launch, tmp_path):
    project = write_project(tmp_path / "bad", scale_model(), pipeline='module = "bad:Pipeline"')
    (project / "bad.py").write_text(
        "from enginecrate.pipelines.tensors import TensorsPipeline\n"
        "class Pipeline(TensorsPipeline):\n"
        "    def prepare(self, payload):\n"
        "        prepared = super().prepare(payload)\n"
        "        if prepared.tensors['x'][0, 0] == 1:\n"  # the request; the trial run passes
        "            raise ZeroDivisionError('the secret of the pipeline')\n"
        "        return prepared\n"
    )
    server = launch(project)
    with server.client() as client:
        answer = client.post("/v1/predict", content=PAYLOAD, headers={"x-request-id": "r-1"})
    assert answer.status_code == 500
    assert "request id r-1" in answer.json()["detail"]
    assert "secret" not in answer.text
    record = server.wait_for_log(lambda record: "exception" in record)
    assert record["level"] == "error"
    assert "ZeroDivisionError: the secret of the pipeline" in record["exception"]


def run_to_its_end(project: Path, cache: Path, **settings) -> subprocess.CompletedProcess:
    flags = {"cache_dir": cache, "http_port": 0, **settings}
    code = (
        "import sys; from pathlib import Path; from enginecrate.errors import EnginecrateError;"
        "from enginecrate.server.app import serve; from enginecrate.settings import load_settings;"
        "flags = dict(pair.split('=', 1) for pair in sys.argv[2:])\n"
        "try:\n    serve(Path(sys.argv[1]), load_settings(environment={}, flags=flags))\n"
        "except EnginecrateError as exc:\n    sys.exit(f'{exc.code} {exc}')\n"
    )
    arguments = [f"{name}={value}" for name, value in flags.items()]
    return subprocess.run(
        [sys.executable, "-c", code, str(project), *arguments],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip


def test_a_port_in_use_is_an_error_with_its_cure(project, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = run_to_its_end(project, tmp_path / "cache", http_port=port)
    assert ended.returncode == 1
    assert f"EC1609 port {port} on 127.0.0.1 is in use" in ended.stderr
    assert "--http-port" in ended.stderr


def test_a_host_that_is_not_ours(project, tmp_path):
    ended = run_to_its_end(project, tmp_path / "cache", host="192.0.2.1")
    assert "EC1609 cannot listen on 192.0.2.1" in ended.stderr


def test_a_model_that_cannot_be_loaded_ends_the_server(project, tmp_path):
    (project / "model.onnx").write_bytes(b"no model")
    ended = run_to_its_end(project, tmp_path / "cache")
    assert ended.returncode == 1
    assert "EC1202" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_missing_manifest_ends_before_it_listens(tmp_path):
    ended = run_to_its_end(tmp_path, tmp_path / "cache")
    assert "EC1101" in ended.stderr
    assert "listening" not in ended.stderr


def test_health_check(launch, project, capsys):
    server = launch(project)
    environment = {"ENGINECRATE_HTTP_PORT": str(server.port), "ENGINECRATE_HOST": "0.0.0.0"}
    assert check_health(environment) == 0
    assert capsys.readouterr().err == ""
    server.stop()
    assert check_health(environment) == 1
    assert "no answer" in capsys.readouterr().err


def test_health_check_of_a_server_that_is_not_ready(launch, project, capsys):
    write_golden(project, PAYLOAD, expected([0, 0, 0, 0]))
    server = launch(project, ready=False)
    server.wait_for_log(lambda record: record["message"].startswith("never ready"))
    assert check_health({"ENGINECRATE_HTTP_PORT": str(server.port)}) == 1
    assert "golden samples gave another result" in capsys.readouterr().err
    assert check_health({"ENGINECRATE_HTTP_PORT": "no number"}) == 1


def test_several_engines_and_ipv6(launch, project):
    server = launch(project, instances=2, engine_threads=1, host="::1")
    assert server.url.startswith("http://[::1]:")
    background = Background(server.url)
    background.send(8)
    assert background.join() == [200] * 8
    assert all(
        answer.json()["results"][0]["outputs"][0]["data"] == [2, 4, 6, 8]
        for answer in background.answers
    )


LOST_PIPELINE = '''
from enginecrate.engines.onnxruntime.cpu import OnnxRuntimeEngine
from enginecrate.errors import DeviceLost
from enginecrate.pipelines.tensors import TensorsPipeline

run = OnnxRuntimeEngine.run


def lose(self, inputs):
    if (inputs["x"] == 666).any():
        raise DeviceLost("an illegal address was met")
    return run(self, inputs)


OnnxRuntimeEngine.run = lose


class Pipeline(TensorsPipeline):
    """Its engine loses its device over the number 666."""
'''


def test_a_lost_device_ends_the_server_with_its_code(launch, tmp_path):
    project = write_project(tmp_path / "lost", scale_model(), pipeline='module = "lost:Pipeline"')
    (project / "lost.py").write_text(LOST_PIPELINE)
    server = launch(project)
    with server.client() as client:
        assert client.post("/v1/predict", content=PAYLOAD).status_code == 200
        poisonous = npz(x=np.full((1, 4), 666, np.float32))
        refused = client.post("/v1/predict", content=poisonous)
    assert refused.status_code == 503
    assert refused.headers["retry-after"]
    assert server.process.wait(LIMIT) != 0
    assert "DeviceLost: an illegal address was met" in server.log.read_text()


def test_the_drain_says_not_ready_and_goes_on(launch, project):
    server = launch(project, drain_seconds=2)
    server.process.send_signal(signal.SIGTERM)
    server.wait_for_log(lambda record: record["message"].startswith("stopping, 2 s from now"))
    with server.client() as client:
        health = client.get("/v2/health/ready")
        assert (health.status_code, health.json()["reason"]) == (503, "the server is stopping")
        assert client.post("/v1/predict", content=PAYLOAD).status_code == 200
    assert server.process.wait(LIMIT) == 0


_FROM_FILE = """
import sys
from pathlib import Path
from enginecrate.server.start import serve
from enginecrate.settings import load_settings
flags = {"http_port": "0", "cache_dir": sys.argv[3]}
def read():
    return load_settings(file=Path(sys.argv[2]), environment={}, flags=flags)
serve(Path(sys.argv[1]), read(), read_settings=read)
"""


def test_settings_are_read_again_in_one_process(project, tmp_path):
    file, log = tmp_path / "settings.toml", tmp_path / "server.log"
    file.write_text('log_level = "info"\n')
    with log.open("w") as errors:
        command = [sys.executable, "-c", _FROM_FILE, project, file, tmp_path / "cache"]
        process = subprocess.Popen(command, stderr=errors)
    server = RunningServer(process, "", log)
    try:
        server.wait_until_ready()
        file.write_text('log_level = "nothing"\n')
        process.send_signal(signal.SIGHUP)
        bad = server.wait_for_log(lambda record: "stay as they are" in record["message"])
        assert "log_level must be one of" in bad["message"]
        file.write_text('log_level = "debug"\nmax_image_pixels = 7\n')
        process.send_signal(signal.SIGHUP)
        good = server.wait_for_log(lambda record: "were read again" in record["message"])
        assert (good["changed"], good["restart"]) == (["log_level"], ["max_image_pixels"])
        assert server.stop() == 0
    finally:
        process.kill()
        process.wait()
