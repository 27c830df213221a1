"""TensorRT-RTX builds plans from quantised graphs. No plan is run: that needs a GPU."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import tensorrt_rtx_bindings as trt
from onnx import helper

from enginecrate.graph.onnx.model import OnnxModel, read_model
from enginecrate.graph.quantize.quantize import quantizable, quantize
from enginecrate.graph.quantize.ranges import Range
from enginecrate.graph.rewrite.simplify import simplify
from enginecrate.graph.typed import Scheme
from graph_tools import execute
from small_network import measured, residual_network

SAMPLES = Path(__file__).parents[2] / "samples"
MODELS = {
    "detection": SAMPLES / "detection/models/nanodet-g-416.onnx",
    "classification": SAMPLES / "classification/models/efficientnet-lite0-224.onnx",
}


def build(proto: onnx.ModelProto, shape: tuple[int, ...], capability: str) -> int:
    """Size of the plan in bytes."""
    logger = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(logger)
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(proto.SerializeToString()):
        raise AssertionError([str(parser.get_error(place)) for place in range(parser.num_errors)])
    config = builder.create_builder_config()
    config.num_compute_capabilities = 1
    config.set_compute_capability(getattr(trt.ComputeCapability, capability), 0)
    profile = builder.create_optimization_profile()
    name = proto.graph.input[0].name
    profile.set_shape(name, *((batch, *shape[1:]) for batch in (1, 2, 8)))
    config.add_optimization_profile(profile)
    plan = builder.build_serialized_network(network, config)
    return 0 if plan is None else plan.nbytes


@pytest.mark.parametrize(
    ("scheme", "capability"),
    [(Scheme.TENSORRT, "SM80"), (Scheme.TENSORRT, "SM120"), (Scheme.FP8, "SM89")],
)
def test_a_small_network_is_built(scheme: Scheme, capability: str):
    float_model = residual_network()
    typed = quantize(float_model, measured(float_model), scheme)
    assert build(typed.model.proto, (1, 3, 8, 8), capability)


def ranges_of(model: OnnxModel, feed: dict[str, np.ndarray]) -> dict[str, Range]:
    proto = onnx.ModelProto()
    proto.CopyFrom(model.proto)
    names = [name for name in quantizable(model, Scheme.TENSORRT) if name not in feed]
    del proto.graph.output[:]
    proto.graph.output.extend(helper.make_tensor_value_info(name, 1, None) for name in names)
    arrays = feed | dict(zip(names, execute(proto, feed), strict=True))
    return {name: Range(float(one.min()), float(one.max())) for name, one in arrays.items()}


@pytest.mark.full
@pytest.mark.timeout(300)
@pytest.mark.parametrize("sample", list(MODELS))
def test_the_samples_are_built_for_every_gpu_and_keep_near_fp32(sample: str):
    model = simplify(read_model(MODELS[sample])).model
    spec = model.inputs[0]
    rng = np.random.default_rng(0)
    data = np.clip(rng.standard_normal((1, *spec.shape[1:])).cumsum(axis=3) / 8, -2, 2)
    feed = {spec.name: data.astype(np.float32)}
    typed = quantize(model, ranges_of(model, feed), Scheme.TENSORRT)
    expected, found = (
        np.concatenate([array.ravel() for array in execute(proto, feed)])
        for proto in (model.proto, typed.model.proto)
    )
    assert np.linalg.norm(expected - found) < 0.4 * np.linalg.norm(expected)
    for capability in ("SM80", "SM86", "SM89", "SM120"):
        assert build(typed.model.proto, data.shape, capability)
