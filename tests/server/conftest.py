"""Real server processes on free ports, and the small projects that they serve."""

import contextlib
import io
import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

ROOT = Path(__file__).parents[2]
SAMPLES = ROOT / "samples"
START_SECONDS = 60

_LAUNCH = """
import sys
from pathlib import Path
from enginecrate.server import connection
from enginecrate.server.app import serve
from enginecrate.settings import load_settings
connection.HEAD_SECONDS = float(sys.argv[2])
flags = dict(pair.split("=", 1) for pair in sys.argv[3:])
settings = load_settings(environment={}, flags=flags)
serve(Path(sys.argv[1]), settings, announce=lambda url: print(url, flush=True))
"""


@dataclass
class RunningServer:
    """A server process. `log` is the file that its standard error goes to."""

    process: subprocess.Popen[str]
    url: str
    log: Path

    @property
    def port(self) -> int:
        return int(self.url.rsplit(":", 1)[1])

    def client(self, **options) -> httpx.Client:
        options.setdefault("timeout", 30)
        return httpx.Client(base_url=self.url, trust_env=False, **options)

    def records(self) -> list[dict]:
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def wait_for_log(self, wanted: Callable[[dict], bool], count: int = 1) -> dict:
        """Follow the log until so many records were found that are wanted; the last of them."""
        with self.log.open() as log:
            line = ""
            while True:
                line += log.readline()
                if line.endswith("\n"):
                    record = json.loads(line)
                    count -= wanted(record)
                    if not count:
                        return record
                    line = ""
                elif self.process.poll() is not None:
                    raise AssertionError(f"the server has ended:\n{self.log.read_text()}")
                else:
                    threading.Event().wait(0.01)  # a file cannot be waited for

    def wait_until_ready(self) -> None:
        self.wait_for_log(lambda record: record["message"].startswith("ready"))

    def stop(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(15)


class Launcher:
    """Starts servers; `close` ends those that still run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.servers: list[RunningServer] = []

    def __call__(
        self, project: Path, *, ready: bool = True, head_seconds: float = 10, **settings: object
    ) -> RunningServer:
        """Start a server and wait until it listens, and unless told otherwise is ready."""
        settings = {"http_port": 0, "cache_dir": self.folder / "cache", **settings}
        flags = [f"{name}={value}" for name, value in settings.items()]
        log = self.folder / f"server-{len(self.servers)}.log"
        with log.open("w") as errors:
            process = subprocess.Popen(
                [sys.executable, "-c", _LAUNCH, str(project), str(head_seconds), *flags],
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env={**os.environ, "PYTHONFAULTHANDLER": "1"},
            )
        url = first_line(process)
        assert url.startswith("http"), log.read_text()
        server = RunningServer(process, url.strip(), log)
        self.servers.append(server)
        if ready:
            server.wait_until_ready()
        return server

    def close(self) -> None:
        for server in self.servers:
            with contextlib.closing(server.process.stdout):
                server.stop()


def first_line(process: subprocess.Popen[str]) -> str:
    lines: queue.Queue[str] = queue.Queue()
    threading.Thread(target=lambda: lines.put(process.stdout.readline()), daemon=True).start()
    return lines.get(timeout=START_SECONDS)


@pytest.fixture(scope="session")
def session_launcher(tmp_path_factory) -> Iterator[Launcher]:
    launcher = Launcher(tmp_path_factory.mktemp("servers"))
    yield launcher
    launcher.close()


@pytest.fixture
def launch(tmp_path, session_launcher) -> Iterator[Launcher]:
    """Starts servers for one test. They share the session's cache of plans."""
    launcher = Launcher(tmp_path)
    launcher.folder = tmp_path
    (tmp_path / "cache").symlink_to(_made(session_launcher.folder / "cache"))
    yield launcher
    launcher.close()


def _made(folder: Path) -> Path:
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def sample_server(session_launcher) -> RunningServer:
    """The detection sample, ready."""
    return session_launcher(SAMPLES / "detection", max_body_bytes=8 * 1024 * 1024)


@pytest.fixture(scope="session")
def tiny_server(session_launcher, tmp_path_factory) -> RunningServer:
    """A tiny model without a pipeline: see `write_tiny_project`."""
    project = write_tiny_project(tmp_path_factory.mktemp("tiny"))
    return session_launcher(project, max_body_bytes=1024 * 1024)


@pytest.fixture
def photo() -> Callable[[str], bytes]:
    """The bytes of a golden sample of the detection sample."""
    return lambda name: (SAMPLES / "detection" / "golden" / name).read_bytes()


TYPES = {
    "FP32": TensorProto.FLOAT,
    "FP16": TensorProto.FLOAT16,
    "INT64": TensorProto.INT64,
    "UINT8": TensorProto.UINT8,
    "BOOL": TensorProto.BOOL,
    "BYTES": TensorProto.STRING,
}


def tiny_model() -> onnx.ModelProto:
    """`double` = 2 x `FP32`; every other output `out_T` is the input `T`. All are [batch, 3]."""
    inputs = [helper.make_tensor_value_info(n, t, ["batch", 3]) for n, t in TYPES.items()]
    outputs = [helper.make_tensor_value_info(f"out_{n}", t, ["batch", 3]) for n, t in TYPES.items()]
    outputs.append(helper.make_tensor_value_info("double", TensorProto.FLOAT, ["batch", 3]))
    nodes = [helper.make_node("Identity", [name], [f"out_{name}"]) for name in TYPES]
    nodes.append(helper.make_node("Add", ["FP32", "FP32"], ["double"]))
    graph = helper.make_graph(nodes, "tiny", inputs, outputs)
    opsets = [helper.make_opsetid("", 17)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9)


def scale_model(factor: float = 2.0) -> onnx.ModelProto:
    """`y` = `factor` x `x`, [batch, 4]."""
    graph = helper.make_graph(
        [helper.make_node("Mul", ["x", "factor"], ["y"])],
        "scale",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 4])],
        [helper.make_tensor("factor", TensorProto.FLOAT, [], [factor])],
    )
    opsets = [helper.make_opsetid("", 17)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9)


def write_project(
    folder: Path, model: onnx.ModelProto, *, pipeline: str = "", serve: str = ""
) -> Path:
    """A project of the task `tensors` around a model."""
    folder.mkdir(exist_ok=True)
    onnx.save(model, folder / "model.onnx")
    (folder / "enginecrate.toml").write_text(
        f"""
        [app]
        name = "tiny"
        version = "1.2.3"
        [model]
        path = "model.onnx"
        [pipeline]
        task = "tensors"
        {pipeline}
        [serve]
        {serve}
        """
    )
    return folder


def write_tiny_project(folder: Path) -> Path:
    return write_project(folder, tiny_model())


def npz(**arrays: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def write_golden(project: Path, payload: bytes, expected: dict) -> None:
    """One golden sample, in the file format that a user's project has."""
    folder = project / "golden"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    (folder / "sample.npz").write_bytes(payload)
    sample = {"input": "sample.npz", "expected": expected}
    (folder / "golden.json").write_text(json.dumps({"format": 1, "samples": [sample]}))


GATED_PIPELINE = '''
import os
from pathlib import Path

from enginecrate.pipelines.tensors import TensorsPipeline

GATE = Path(__file__).with_name("gate")


class Pipeline(TensorsPipeline):
    """Waits in `prepare` while there is a gate, a named pipe, that somebody holds shut."""

    def prepare(self, payload):
        if GATE.exists():
            with GATE.open("rb") as gate:
                gate.read()
        return super().prepare(payload)
'''


@dataclass
class Gate:
    """The other end of the named pipe in a gated project."""

    path: Path
    door: int | None = None

    def wait_for_request(self) -> None:
        """Wait until a request stands at the gate; it and all later ones are held there."""
        self.door = os.open(self.path, os.O_WRONLY)

    def open(self) -> None:
        """Let them pass, and all that come later."""
        self.path.unlink(missing_ok=True)
        if self.door is not None:
            os.close(self.door)
            self.door = None


@pytest.fixture
def gated(tmp_path) -> Iterator[tuple[Path, Gate]]:
    """A project whose pipeline waits for the test."""
    project = write_project(tmp_path / "gated", scale_model(), pipeline='module = "gated:Pipeline"')
    (project / "gated.py").write_text(GATED_PIPELINE)
    os.mkfifo(project / "gate")
    gate = Gate(project / "gate")
    yield project, gate
    gate.open()
