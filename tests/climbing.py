"""Servers whose ladder the test holds in its hands: which plan comes, and when.

Run as a program it is such a server; its job is a JSON file. With front ends it is the supervisor,
and its engine process is this program once more, which has the descriptor behind the job.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import httpx
import msgspec
import numpy as np

from enginecrate.builder.graphs.graph_result import GraphResult
from enginecrate.builder.ladder.steps import Steps
from enginecrate.builder.plans.plan import build_options
from enginecrate.builder.plans.targets import Target
from enginecrate.builder.project.project import Project, open_project
from enginecrate.engines.backends import get_backend
from enginecrate.engines.base import Plan
from enginecrate.engines.cache.plans import PlanRequest, PlanStore
from enginecrate.errors import PlanBuildFailed
from enginecrate.graph.typed import TypedGraph
from enginecrate.server.app import serve
from enginecrate.server.processes import engine_process
from enginecrate.server.processes.front_end_count import FrontEndCount
from enginecrate.server.processes.supervisor import Commands, supervise
from enginecrate.settings import Settings, load_settings
from enginecrate.stacks.catalog import get_stack
from enginecrate.values import PlanInfo, Precision, Progress

SECONDS = 60


@dataclass
class StepSpec:
    """A step of the ladder.

    plan: folder of a plan in a cache.
    gate: a named pipe; the step is built when the test opens it. Without one its plan is there.
    error: the build fails with this message instead.
    """

    precision: str
    plan: str
    gate: str = ""
    error: str = ""


class GatedStep:
    """A step whose plan was built before, and is handed out when the test says so."""

    quick = False

    origin = ""

    def __init__(self, spec: StepSpec) -> None:
        stack = get_stack("ort-cpu")
        self.target = Target(stack, stack.rungs[0], "cpu", Precision(spec.precision))
        self._spec = spec

    def find(self) -> Plan | None:
        return None if self._spec.gate else read_plan(Path(self._spec.plan))

    def build(self, progress: Progress) -> Plan:
        progress("wait at the gate", 1, 4)
        with Path(self._spec.gate).open("rb") as gate:
            gate.read()
        if self._spec.error:
            raise PlanBuildFailed(self._spec.error)
        return read_plan(Path(self._spec.plan))

    def stop(self) -> None:
        """The process ends anyway."""


def read_plan(folder: Path) -> Plan:
    info = msgspec.json.decode((folder / "plan.json").read_bytes(), type=PlanInfo)
    return Plan(folder / "plan.onnx", info)


def make_plan(project: Project, graph: TypedGraph, settings: Settings) -> Plan:
    """A plan of a graph, in the cache."""
    stack = get_stack("ort-cpu")
    target = Target(stack, stack.rungs[0], "cpu", graph.precision)
    options = build_options(project, target, GraphResult(graph))
    built = get_backend("onnxruntime").build(graph.model, options)
    key = PlanStore.key(PlanRequest.of(built.info))
    return PlanStore(settings.cache_path).put(key, built)


@dataclass
class ClimbingServer:
    """A running server. `log`: what it has logged."""

    process: subprocess.Popen[str]
    url: str
    log: Path

    def status(self) -> dict:
        return httpx.get(f"{self.url}/v1/status", timeout=30).json()

    def wait_for(self, wanted, what: str) -> dict:
        """Ask for the status until it is as wanted."""
        until = time.monotonic() + SECONDS
        while time.monotonic() < until:
            if self.process.poll() is not None:
                raise AssertionError(f"the server has ended:\n{self.log.read_text()}")
            status = self.status()
            if wanted(status):
                return status
            threading.Event().wait(0.05)
        raise AssertionError(f"never {what}: {status['ladder']}\n{self.log.read_text()}")

    def wait_for_front_ends(self, count: int) -> None:
        """Wait until each front end has a plan: so many connections have one each."""
        ready = [False] * count
        while not all(ready):
            with ExitStack() as opened:
                clients = [opened.enter_context(httpx.Client(timeout=30)) for _ in range(count)]
                ready = [client.get(f"{self.url}/v1/status").json()["ready"] for client in clients]

    def wait_for_swaps(self, count: int) -> dict:
        return self.wait_for(lambda status: status["ladder"]["swaps"] == count, f"{count} swaps")

    def wait_for_build(self) -> dict:
        return self.wait_for(lambda status: status["ladder"]["building"], "a build")


@contextmanager
def climbing(
    project: Path,
    folder: Path,
    steps: Sequence[StepSpec],
    *,
    front_ends: int = 0,
    **settings: object,
) -> Iterator[ClimbingServer]:
    """A server with these steps, best first; entered when it serves with one of them."""
    job = {
        "front_ends": front_ends,
        "project": str(project),
        "settings": {"cache_dir": str(folder / "cache"), "http_port": 0, **settings},
        "steps": [asdict(step) for step in steps],
    }
    (folder / "job.json").write_text(json.dumps(job))
    for step in steps:
        if step.gate:
            os.mkfifo(step.gate)
    log = folder / "server.log"
    with log.open("w") as errors:
        process = subprocess.Popen(
            [sys.executable, __file__, str(folder / "job.json")],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    try:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        assert url.startswith("http"), log.read_text()
        server = ClimbingServer(process, url, log)
        server.wait_for(lambda status: status["ready"], "ready")
        server.wait_for_front_ends(front_ends)
        yield server
    finally:
        process.terminate()
        process.wait(20)
        process.stdout.close()


def open_gate(step: StepSpec) -> None:
    """Let the step be built."""
    os.close(os.open(step.gate, os.O_WRONLY))


@dataclass
class Reply:
    """What a client got. `plan`: that the reply names; `values`: its numbers."""

    status: int
    photo: str
    kind: str
    plan: str = ""
    values: np.ndarray = field(default_factory=lambda: np.zeros(0))


class Clients:
    """Clients that send photos, and tensors over v2, one request after the other."""

    def __init__(self, url: str, name: str, photos: dict[str, bytes], tensors: dict[str, dict]):
        """`tensors`: for each photo the body of a v2 request."""
        self.replies: list[Reply] = []
        self.errors: list[Exception] = []
        self._url, self._name, self._photos, self._tensors = url, name, photos, tensors
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self, count: int) -> None:
        for number in range(count):
            thread = threading.Thread(target=self._send, args=(number,))
            thread.start()
            self._threads.append(thread)

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(60)

    def _send(self, number: int) -> None:
        names = sorted(self._photos)
        try:
            with httpx.Client(base_url=self._url, timeout=60) as client:
                while not self._stop.is_set():
                    number += 1
                    photo = names[number % len(names)]
                    ask = self._infer if number % 4 == 0 else self._predict
                    self.replies.append(ask(client, photo))
        except Exception as exc:
            self.errors.append(exc)

    def _predict(self, client: httpx.Client, photo: str) -> Reply:
        answer = client.post("/v1/predict", content=self._photos[photo])
        if answer.status_code != 200:
            return Reply(answer.status_code, photo, "predict")
        body = answer.json()
        return Reply(200, photo, "predict", body["engine"]["plan"], scores(body["results"][0]))

    def _infer(self, client: httpx.Client, photo: str) -> Reply:
        answer = client.post(f"/v2/models/{self._name}/infer", json=self._tensors[photo])
        if answer.status_code != 200:
            return Reply(answer.status_code, photo, "infer")
        body = answer.json()
        values = np.array(body["outputs"][0]["data"])
        return Reply(200, photo, "infer", body["parameters"]["plan"], values)


def scores(result: dict) -> np.ndarray:
    """The scores of a classification, by class id; 0 for classes outside of the best."""
    found = np.zeros(1000)
    for entry in result["classes"]:
        found[entry["class_id"]] = entry["score"]
    return found


def offline(project: Project, plan: Plan, payload: bytes) -> dict[str, np.ndarray]:
    """What a plan computes for a photo without any server: as `Reply.values`, by kind."""
    from enginecrate.engines.base import RunOptions

    engine = get_backend("onnxruntime").load(plan, RunOptions(threads=1))
    prepared = project.pipeline.prepare(payload)
    outputs = engine.run(prepared.tensors)
    result = project.pipeline.finish(outputs, prepared.context)
    engine.close()
    name = plan.info.outputs[0].name
    return {
        "predict": scores(msgspec.to_builtins(result)),
        "infer": np.asarray(outputs[name], np.float64).ravel(),
    }


def infer_body(project: Project, payload: bytes) -> dict:
    """A v2 request with a photo's tensors."""
    tensors = project.pipeline.prepare(payload).tensors
    inputs = [
        {
            "name": name,
            "datatype": "FP32",
            "shape": list(array.shape),
            "data": array.ravel().tolist(),
        }
        for name, array in tensors.items()
    ]
    return {"inputs": inputs}


def check_replies(
    project: Project,
    plans: Sequence[Plan],
    photos: dict[str, bytes],
    clients: Clients,
    tolerance: float,
) -> dict[str, int]:
    """Nothing failed, and each reply is what the plan that it names computes.

    Returns:
        Replies by plan.
    """
    assert clients.errors == []
    assert {reply.status for reply in clients.replies} == {200}
    wanted = {
        (plan.info.plan_digest[7:19], photo): offline(project, plan, payload)
        for plan in plans
        for photo, payload in photos.items()
    }
    counts: dict[str, int] = {}
    for reply in clients.replies:
        expected = wanted[reply.plan, reply.photo][reply.kind]
        np.testing.assert_allclose(reply.values, expected, rtol=0, atol=tolerance)
        counts[reply.plan] = counts.get(reply.plan, 0) + 1
    check_apart(plans, photos, wanted, 10 * tolerance)
    return counts


def check_apart(
    plans: Sequence[Plan], photos: dict[str, bytes], wanted: dict, least: float
) -> None:
    """Any two plans differ, for each photo and each kind of request."""
    names = [plan.info.plan_digest[7:19] for plan in plans]
    pairs = [(a, b) for number, a in enumerate(names) for b in names[number + 1 :]]
    for first, second in pairs:
        for photo in photos:
            for kind in ("predict", "infer"):
                one, other = wanted[first, photo][kind], wanted[second, photo][kind]
                assert np.abs(one - other).max() > least, (first, second, photo, kind)


def main() -> None:
    job = json.loads(Path(sys.argv[1]).read_text())
    steps = Steps([GatedStep(StepSpec(**step)) for step in job["steps"]])
    settings = load_settings(environment={}, flags=job["settings"])
    if len(sys.argv) == 3:
        engine_process.main(lambda project, settings: steps)
    elif job["front_ends"]:
        count = FrontEndCount(job["front_ends"], 1 << 28, "as the test says")
        commands = Commands(engine=(sys.executable, __file__, sys.argv[1]))
        supervise(Path(job["project"]), settings, count, announce=announce, commands=commands)
    else:
        serve(
            Path(job["project"]),
            settings,
            announce=announce,
            make_steps=lambda project, settings: steps,
        )


def announce(url: str) -> None:
    sys.stdout.write(f"{url}\n")
    sys.stdout.flush()


def opened(project: Path, cache: Path) -> tuple[Project, Settings]:
    settings = load_settings(environment={}, flags={"cache_dir": str(cache)})
    return open_project(project, settings), settings


if __name__ == "__main__":
    main()
