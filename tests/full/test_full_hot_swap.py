"""Sixteen clients for half a minute while the ladder swaps twice: nobody notices."""

import time
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from climbing import (
    Clients,
    StepSpec,
    check_replies,
    climbing,
    infer_body,
    make_plan,
    open_gate,
    opened,
)
from enginecrate.builder.project.project import Project
from enginecrate.graph.cast.cast import cast
from enginecrate.graph.onnx.model import OnnxModel
from enginecrate.graph.quantize.quantize import quantizable, quantize
from enginecrate.graph.quantize.ranges import Range
from enginecrate.graph.rewrite.simplify import simplify
from enginecrate.graph.typed import Scheme, TypedGraph
from enginecrate.values import Precision
from running import SAMPLES

SECONDS = 30
CLIENTS = 16
SAMPLE = SAMPLES / "classification"
TOLERANCE = 1e-5
"""Of scores and logits: batches are computed in another order than single photos."""


def read_photos() -> dict[str, bytes]:
    folder = SAMPLE / "golden"
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix != ".json"}


def calibrated(project: Project, model: OnnxModel, photos: dict[str, bytes]) -> TypedGraph:
    """The model in INT8, its ranges from these photos."""
    names = list(quantizable(model, Scheme.CPU))
    proto = onnx.ModelProto()
    proto.CopyFrom(model.proto)
    inputs = [spec.name for spec in model.inputs]
    given = {output.name for output in proto.graph.output}
    added = [name for name in names if name not in (*given, *inputs)]
    proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in added)
    session = onnxruntime.InferenceSession(
        proto.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    ranges = {name: Range(np.inf, -np.inf) for name in names}
    for payload in photos.values():
        feed = dict(project.pipeline.prepare(payload).tensors)
        wanted = [*given, *added]
        found = {**feed, **dict(zip(wanted, session.run(wanted, feed), strict=True))}
        for name in names:
            low, high = float(found[name].min()), float(found[name].max())
            ranges[name] = Range(min(ranges[name].low, low), max(ranges[name].high, high))
    return quantize(model, ranges, Scheme.CPU)


@pytest.mark.full
@pytest.mark.timeout(300)
def test_two_swaps_under_load(tmp_path: Path):
    (tmp_path / "cache").mkdir(mode=0o700)
    project, settings = opened(SAMPLE, tmp_path / "cache")
    photos = read_photos()
    model = simplify(project.model).model
    graphs = [
        calibrated(project, model, photos),
        cast(model, Precision.FP16),
        TypedGraph(model, Precision.FP32, ()),
    ]
    plans = [make_plan(project, graph, settings) for graph in graphs]
    steps = [
        StepSpec(graph.precision, str(plan.path.parent), str(tmp_path / f"{number}.gate"))
        for number, (graph, plan) in enumerate(zip(graphs, plans, strict=True))
    ]
    steps[-1].gate = ""
    bodies = {name: infer_body(project, payload) for name, payload in photos.items()}
    with climbing(SAMPLE, tmp_path, steps) as server:
        clients = Clients(server.url, project.manifest.app.name, photos, bodies)
        begin = time.monotonic()
        clients.start(CLIENTS)
        for swaps, step in enumerate((steps[1], steps[0]), 1):
            wait_until(begin + swaps * SECONDS / 3)
            open_gate(step)
            server.wait_for_swaps(swaps)
        wait_until(begin + SECONDS)
        clients.stop()
        status = server.status()
    counts = check_replies(project, plans, photos, clients, TOLERANCE)
    assert set(counts) == {plan.info.plan_digest[7:19] for plan in plans}
    assert min(counts.values()) >= CLIENTS
    assert status["requests"]["success"] == len(clients.replies)
    assert sum(status["requests"]["failed"].values()) == 0


def wait_until(moment: float) -> None:
    """The load goes on for so long: this is a duration, not an event to wait for."""
    time.sleep(max(0.0, moment - time.monotonic()))
