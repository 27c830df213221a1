"""The GPU gives the CPU's answers."""

import numpy as np
import pytest
from gpu_plans import Case, LoadEngine

from enginecrate.builder.golden.samples import check_golden, load_golden
from enginecrate.engines.base import RunOptions
from enginecrate.engines.onnxruntime.backend import OnnxRuntimeBackend
from enginecrate.engines.onnxruntime.sessions import CudaTuning
from enginecrate.pipelines.base import Result
from enginecrate.values import Precision, Tensors

BATCHES = (1, 2, 3, 5, 8)


def inputs_of(case: Case, batch: int) -> Tensors:
    """Golden photos where there are any, and noise."""
    if case.project is None:
        noise = np.random.default_rng(batch).standard_normal((batch, 3, 224, 224))
        return {"image": noise.astype(np.float32)}
    samples = load_golden(case.project.golden)
    photos = [case.project.pipeline.prepare(one.payload).tensors for one in samples]
    (name,) = photos[0]
    rows = [photos[number % len(photos)][name] for number in range(batch)]
    return {name: np.ascontiguousarray(np.concatenate(rows))}


def distance(found: np.ndarray, wanted: np.ndarray) -> float:
    """Relative L2 distance."""
    return float(np.linalg.norm(found - wanted) / max(np.linalg.norm(wanted), 1e-12))


@pytest.mark.parametrize(
    ("precision", "most"), [(Precision.FP32, 1e-4), (Precision.FP16, 1e-2)], ids=str
)
def test_outputs_are_the_cpus(case: Case, load: LoadEngine, precision: Precision, most: float):
    reference = OnnxRuntimeBackend().load_model(case.model, RunOptions())
    engine = load(case.model, precision)
    assert engine.without_graph == ""
    for batch in BATCHES:
        inputs = inputs_of(case, batch)
        wanted, found = reference.run(inputs), engine.run(inputs)
        assert found.keys() == wanted.keys()
        for name, array in wanted.items():
            assert found[name].dtype == array.dtype
            assert distance(found[name], array) < most, (name, batch)


@pytest.mark.parametrize("precision", [Precision.FP32, Precision.FP16], ids=str)
def test_golden_samples_pass(case: Case, load: LoadEngine, precision: Precision):
    if case.project is None:
        assert case.name == "resnet50"  # random weights have no answers to check
        return
    project, engine = case.project, load(case.model, precision)

    def predict(payload: bytes) -> Result:
        prepared = project.pipeline.prepare(payload)
        return project.pipeline.finish(engine.run(prepared.tensors), prepared.context)

    report = check_golden(predict, load_golden(project.golden))
    assert report.passed, report


def test_every_way_of_running_gives_the_same(case: Case, load: LoadEngine):
    """With and without CUDA graphs, channels last or first: only the order of sums differs."""
    engines = [
        load(case.model),
        load(case.model, cuda_graph=False),
        load(case.model, tuning=CudaTuning(nhwc=True)),
    ]
    assert [bool(engine.without_graph) for engine in engines] == [False, True, True]
    inputs = inputs_of(case, 3)
    first, *others = (engine.run(inputs) for engine in engines)
    for other in others:
        for name, array in first.items():
            assert distance(other[name], array) < 1e-4, name


@pytest.mark.parametrize(("precision", "allowed"), [(Precision.FP32, 1e-4), (Precision.FP16, 1e-2)])
def test_earlier_batches_can_be_replayed(
    case: Case, load: LoadEngine, precision: Precision, allowed: float
):
    """Each recording must survive those that come after it."""
    reference = OnnxRuntimeBackend().load_model(case.model, RunOptions())
    engine = load(case.model, precision)
    assert not engine.without_graph
    for batch in (1, 4, 8, 1, 4, 2, 8, 1):
        inputs = inputs_of(case, batch)
        wanted, found = reference.run(inputs), engine.run(inputs)
        for name, array in wanted.items():
            assert distance(found[name], array) < allowed, (batch, name)


def test_tf32_is_only_used_when_asked(case: Case, load: LoadEngine):
    inputs = inputs_of(case, 8)
    wanted = OnnxRuntimeBackend().load_model(case.model, RunOptions()).run(inputs)
    exact, rounded = load(case.model).run(inputs), load(case.model, tf32=True).run(inputs)
    name = max(wanted, key=lambda name: wanted[name].size)
    assert distance(exact[name], wanted[name]) < 1e-4
    assert distance(rounded[name], wanted[name]) < 5e-2
    if case.name == "resnet50":  # dense enough for TF32 to be the fastest choice
        assert distance(exact[name], wanted[name]) < distance(rounded[name], wanted[name])
