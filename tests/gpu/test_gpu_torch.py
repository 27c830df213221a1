"""Arrays go to PyTorch and come from it, without leaving the GPU. Needs PyTorch for CUDA."""

from pathlib import Path

import numpy as np
import pytest
import torch
from gpu_plans import LoadEngine

from enginecrate.cuda.device import open_device
from enginecrate.cuda.streams import Stream
from enginecrate.engines.onnxruntime.cuda import CudaEngine
from enginecrate.errors import TensorMismatch
from enginecrate.graph.onnx.model import read_model
from tiny_models import save, wordy_linear


@pytest.fixture(params=[True, False], ids=["graphs", "no graphs"])
def linear(request: pytest.FixtureRequest, tmp_path: Path, load: LoadEngine) -> CudaEngine:
    model = read_model(save(wordy_linear(), tmp_path / "m.onnx"))
    return load(model, cuda_graph=request.param)


def test_tensors_in_and_out(linear: CudaEngine):
    x = torch.randn(5, 3, device="cuda")
    y = linear.run_on_device({"x": x})["y"]
    seen = torch.as_tensor(y, device="cuda")
    assert seen.data_ptr() == y.pointer
    host = linear.run({"x": x.cpu().numpy()})["y"]
    kept = torch.as_tensor(linear.run_on_device({"x": x})["y"], device="cuda").clone()
    np.testing.assert_array_equal(kept.cpu().numpy(), host)


def test_work_that_is_still_under_way_is_waited_for(linear: CudaEngine):
    """The tensor's values are computed on another stream while the engine is called."""
    stream = torch.cuda.Stream()
    large = torch.ones(8192, 8192, device="cuda")
    for turn in range(5):
        with torch.cuda.stream(stream):
            for _ in range(10):
                large = large @ large
                large = large / large.max()
            x = torch.full((4, 3), float(turn), device="cuda") * large[0, 0]
            found = linear.run({"x": x})["y"]
        wanted = linear.run({"x": np.full((4, 3), turn, np.float32)})["y"]
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


def test_tensors_that_do_not_fit(linear: CudaEngine):
    with pytest.raises(TensorMismatch, match="is not C-contiguous"):
        linear.run({"x": torch.randn(3, 5, device="cuda").T})
    with pytest.raises(TensorMismatch, match="expected datatype FP32, found FP16"):
        linear.run({"x": torch.randn(5, 3, device="cuda").half()})


def test_tensors_on_the_host_are_taken_too(linear: CudaEngine):
    x = torch.randn(5, 3)
    found = linear.run({"x": x})["y"]
    np.testing.assert_array_equal(found, linear.run({"x": x.numpy()})["y"])


def test_memory_of_pytorch_is_copied_without_pytorch():
    """The primary context is the one that PyTorch's CUDA runtime uses: its addresses are ours."""
    tensor = torch.randn(1000, device="cuda")
    torch.cuda.synchronize()
    stream, found = Stream(open_device(0)), np.empty(1000, np.float32)
    stream.copy_to_array(found, tensor.data_ptr())
    stream.close()
    np.testing.assert_array_equal(found, tensor.cpu().numpy())
