"""The ladder while it serves: better plans replace lower ones without a failed request."""

import json
import os
import shutil
import threading
from pathlib import Path

import httpx
import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families
from tiny_projects import Gate

from climbing import (
    Clients,
    StepSpec,
    check_replies,
    climbing,
    infer_body,
    make_plan,
    offline,
    open_gate,
    opened,
)
from enginecrate.builder.project.project import Project
from enginecrate.engines.base import Plan
from enginecrate.graph.onnx.model import read_model
from enginecrate.graph.typed import TypedGraph
from enginecrate.values import Precision
from tiny_models import color_classifier, save
from tiny_project import BLUE, GREEN, RED, make_project, photo

PRECISIONS = ("int8", "fp16", "fp32")


PHOTOS = {"red": photo(RED), "green": photo(GREEN), "blue": photo(BLUE)}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return make_project(tmp_path / "colors")


def plan_of(project: Project, settings, precision: str, factor: float, turn: int = 0) -> Plan:
    """A plan whose weights are those of the model times a factor."""
    proto = color_classifier(turn)
    for tensor in proto.graph.initializer:
        values = np.frombuffer(tensor.raw_data, np.float32) * factor
        tensor.raw_data = values.astype(np.float32).tobytes()
    model = read_model(save(proto, settings.cache_path.parent / f"{precision}.onnx"))
    return make_plan(project, TypedGraph(model, Precision(precision), ()), settings)


@pytest.fixture
def ladder(project: Path, tmp_path: Path) -> tuple[Project, list[Plan], list[StepSpec]]:
    """Three plans that differ, best first, and their steps: the last one's plan is there."""
    tmp_path.joinpath("cache").mkdir(mode=0o700)
    app, settings = opened(project, tmp_path / "cache")
    plans = [
        plan_of(app, settings, precision, factor)
        for precision, factor in zip(PRECISIONS, (0.8, 0.9, 1), strict=True)
    ]
    steps = [
        StepSpec(precision, str(plan.path.parent), str(tmp_path / f"{precision}.gate"))
        for precision, plan in zip(PRECISIONS, plans, strict=True)
    ]
    steps[-1].gate = ""
    return app, plans, steps


def name_of(plan: Plan) -> str:
    return plan.info.plan_digest[7:19]


def test_two_swaps_under_load(ladder, tmp_path: Path):
    """The short form of tests/full/test_full_hot_swap.py."""
    app, plans, steps = ladder
    bodies = {name: infer_body(app, payload) for name, payload in PHOTOS.items()}
    with climbing(app.root, tmp_path, steps) as server:
        clients = Clients(server.url, "colors", PHOTOS, bodies)
        clients.start(16)
        for number, step in enumerate((steps[1], steps[0]), 1):
            server.wait_for(lambda s, n=number: s["requests"]["success"] > 150 * n, "requests")
            open_gate(step)
            server.wait_for_swaps(number)
        before = server.status()["requests"]["success"]
        server.wait_for(lambda s: s["requests"]["success"] > before + 150, "requests")
        clients.stop()
        status = server.status()
        log = server.log.read_text()
    counts = check_replies(app, plans, PHOTOS, clients, tolerance=1e-5)
    assert set(counts) == {name_of(plan) for plan in plans}
    # Counting has gone on over both swaps, and the golden samples' runs are not in it.
    assert status["requests"]["success"] == len(clients.replies)
    assert status["requests"]["inferences"] == len(clients.replies)
    assert sum(status["requests"]["failed"].values()) == 0
    assert "Traceback" not in log


@pytest.mark.parametrize(
    ("count", "requests"), [(12, 60), pytest.param(32, 500, marks=pytest.mark.full)]
)
def test_two_swaps_under_load_with_two_front_ends(ladder, tmp_path: Path, count, requests):
    """Photos of random colours: each answer is that of its photo, and of the plan that it names."""
    app, plans, steps = ladder
    chance = np.random.default_rng(5)
    photos = {
        f"photo {number}": photo(tuple(map(int, chance.integers(0, 256, 3))))
        for number in range(24)
    }
    bodies = {name: infer_body(app, payload) for name, payload in photos.items()}
    with climbing(app.root, tmp_path, steps, front_ends=2) as server:
        clients = Clients(server.url, "colors", photos, bodies)
        clients.start(count)
        for number, step in enumerate((steps[1], steps[0]), 1):
            server.wait_for(lambda s, n=number: s["requests"]["success"] > requests * n, "requests")
            open_gate(step)
            server.wait_for_swaps(number)
        before = server.status()["requests"]["success"]
        server.wait_for(lambda s: s["requests"]["success"] > before + requests, "requests")
        clients.stop()
        status = server.status()
        log = server.log.read_text()
    counts = check_replies(app, plans, photos, clients, tolerance=1e-5)
    assert set(counts) == {name_of(plan) for plan in plans}
    values = [offline(app, plans[0], payload)["infer"] for payload in photos.values()]
    assert len({tuple(each.round(4)) for each in values}) == len(
        photos
    )  # no photo's answer could pass for another one's
    assert status["requests"]["success"] == len(clients.replies)
    assert sum(status["requests"]["failed"].values()) == 0
    assert "Traceback" not in log


def test_everybody_is_told_which_rung_serves_and_what_is_built(ladder, tmp_path: Path):
    app, plans, steps = ladder
    with climbing(app.root, tmp_path, steps) as server:
        status = server.wait_for_build()
        assert [rung["state"] for rung in status["ladder"]["steps"]] == [
            "waiting", "building", "serving"
        ]  # fmt: skip
        ready = httpx.get(f"{server.url}/v2/health/ready")
        assert ready.status_code == 200
        assert ready.json()["engine"] == {
            "backend": "onnxruntime", "precision": "fp32", "device": "cpu",
            "plan": name_of(plans[2]),
        }  # fmt: skip
        building = ready.json()["ladder"]["building"]
        assert (building["name"], building["step"], building["progress"]) == (
            "ort-cpu, fp16 for cpu", "wait at the gate", 0.25
        )  # fmt: skip
        assert metrics(server.url)["enginecrate_build_progress"] == {
            (("rung", "ort-cpu, fp16 for cpu"),): 0.25
        }
        open_gate(steps[1])
        open_gate(steps[0])
        status = server.wait_for_swaps(2)
        assert status["engine"]["plan"] == name_of(plans[0])
        assert [rung["state"] for rung in status["ladder"]["steps"]] == [
            "serving", "replaced", "replaced"
        ]  # fmt: skip
        found = metrics(server.url)
        assert found["enginecrate_build_progress"] == {}
        assert found["enginecrate_swaps_total"] == {(): 2}
        assert found["enginecrate_plans_built_total"] == {(): 2}
        ((labels, value),) = found["enginecrate_engine_info"].items()
        assert value == 1
        assert dict(labels) == {
            "backend": "onnxruntime", "device": "cpu", "precision": "int8", "stack": "ort-cpu",
            "plan": name_of(plans[0]),
        }  # fmt: skip
        meta = httpx.get(f"{server.url}/v2/models/colors").json()
        assert meta["parameters"]["plan"] == name_of(plans[0])
        config = httpx.get(f"{server.url}/v2/models/colors/config").json()
        assert config["parameters"]["engine"] == {"string_value": "onnxruntime int8 cpu"}
    words = [json.loads(line)["message"] for line in server.log.read_text().splitlines()]
    swapped = f"plan {name_of(plans[0])} in place of {name_of(plans[1])}"
    assert f"serving with ort-cpu, int8 for cpu, {swapped}" in words


def metrics(url: str) -> dict[str, dict[tuple, float]]:
    """Our own metrics: values by their labels, without the model's name and version."""
    found: dict[str, dict[tuple, float]] = {}
    for family in text_string_to_metric_families(httpx.get(f"{url}/metrics").text):
        for sample in family.samples:
            labels = {k: v for k, v in sample.labels.items() if k not in ("model", "version")}
            found.setdefault(sample.name, {})[tuple(sorted(labels.items()))] = sample.value
        found.setdefault(family.name, {})
    return found


def test_a_build_that_fails_leaves_the_lower_rung_serving(ladder, tmp_path: Path):
    app, _, steps = ladder
    steps[1].error = "no kernel for node 'score'"
    with climbing(app.root, tmp_path, steps) as server:
        open_gate(steps[1])
        status = server.wait_for(lambda s: s["ladder"]["failed"], "failed")
        assert status["ladder"]["failed"] == [
            {"name": "ort-cpu, fp16 for cpu", "reason": "no kernel for node 'score'"}
        ]
        assert status["ready"]
        open_gate(steps[0])  # the next better one is built all the same
        status = server.wait_for_swaps(1)
        assert status["engine"]["precision"] == "int8"
        failures = metrics(server.url)["enginecrate_ladder_failures_total"]
        assert failures[(("reason", "build"),)] == 1
        assert sum(failures.values()) == 1


def test_a_plan_that_fails_the_golden_samples_never_serves(ladder, tmp_path: Path):
    app, plans, steps = ladder
    golden = app.root / "golden"
    golden.mkdir()
    (golden / "red.png").write_bytes(PHOTOS["red"])
    sample = {"width": 24, "height": 16, "classes": expected_classes(app, plans[2])}
    (golden / "golden.json").write_text(
        json.dumps({"format": 1, "samples": [{"input": "red.png", "expected": sample}]})
    )
    _, settings = opened(app.root, tmp_path / "cache")
    wrong = plan_of(app, settings, "int8", 0.7, turn=1)
    steps[0].plan = str(wrong.path.parent)
    with climbing(app.root, tmp_path, steps) as server:
        open_gate(steps[1])
        server.wait_for_swaps(1)
        open_gate(steps[0])
        status = server.wait_for(lambda s: s["ladder"]["failed"], "failed")
        assert (
            "1 of 1 golden samples gave another result" in status["ladder"]["failed"][0]["reason"]
        )
        assert (status["ready"], status["golden"]["state"]) == (True, "passed")
        assert status["engine"]["plan"] == name_of(plans[1])
        assert status["requests"]["executions"] == 0
        assert metrics(server.url)["enginecrate_ladder_failures_total"][(("reason", "proof"),)] == 1


def expected_classes(app: Project, plan: Plan) -> list[dict]:
    from climbing import offline

    found = offline(app, plan, PHOTOS["red"])["predict"]
    order = np.argsort(-found, kind="stable")[:3]
    names = ["red", "green", "blue"]
    return [{"label": names[n], "class_id": int(n), "score": float(found[n])} for n in order]


def test_a_damaged_plan_that_cannot_be_loaded_leaves_the_lower_one(ladder, tmp_path: Path):
    app, plans, steps = ladder
    copy = Path(shutil.copytree(plans[1].path.parent, tmp_path / "damaged"))
    (copy / "plan.onnx").write_bytes(b"nothing")
    steps[1].plan = str(copy)
    with climbing(app.root, tmp_path, steps) as server:
        open_gate(steps[1])
        status = server.wait_for(lambda s: s["ladder"]["failed"], "failed")
        assert "is damaged" in status["ladder"]["failed"][0]["reason"]
        assert status["engine"]["plan"] == name_of(plans[2])


def test_the_server_stops_while_a_plan_is_being_built(ladder, tmp_path: Path):
    app, _, steps = ladder
    with climbing(app.root, tmp_path, steps) as server:
        server.wait_for_build()
        server.process.terminate()
        assert server.process.wait(10) == 0
        assert "Traceback" not in server.log.read_text()


GATED = """
from pathlib import Path
from enginecrate.pipelines.classification import ClassificationPipeline

GATE = Path(__file__).with_name("gate")

class Pipeline(ClassificationPipeline):
    def prepare(self, payload):
        if payload.endswith(b"gated"):
            with GATE.open("rb") as gate:
                gate.read()
        return super().prepare(payload)
"""


def test_a_request_that_began_before_the_swap_ends_with_its_plan(ladder, tmp_path: Path):
    app, plans, steps = ladder
    (app.root / "gated.py").write_text(GATED)
    manifest = app.root / "enginecrate.toml"
    manifest.write_text(manifest.read_text() + 'module = "gated:Pipeline"\n')
    gate = Gate(app.root / "gate")
    os.mkfifo(gate.path)
    answers: list[httpx.Response] = []

    def send(server) -> None:
        content = PHOTOS["red"] + b"gated"
        answers.append(httpx.post(f"{server.url}/v1/predict", content=content, timeout=30))

    with climbing(app.root, tmp_path, steps, decode_threads=2) as server:
        sending = threading.Thread(target=send, args=(server,))
        sending.start()
        gate.wait_for_request()
        open_gate(steps[1])
        server.wait_for_swaps(1)
        later = httpx.post(f"{server.url}/v1/predict", content=PHOTOS["red"])
        gate.open()
        sending.join(30)
    assert later.json()["engine"]["plan"] == name_of(plans[1])
    assert answers[0].status_code == 200
    assert answers[0].json()["engine"]["plan"] == name_of(plans[2])
