"""What our side does around TensorRT's runtime, tried on a stand-in (tensorrt_stub)."""

import logging
from pathlib import Path

import numpy as np
import pytest

from enginecrate.cuda.streams import Stream
from enginecrate.engines.tensorrt.execution import TensorRtEngine
from enginecrate.engines.tensorrt.graph_cache import GraphCache
from enginecrate.engines.tensorrt.profiles import choose_profile
from enginecrate.errors import DeviceLost, EngineRunFailed, TensorMismatch
from enginecrate.values import DataType, PlanInfo, Precision, TensorSpec
from fake_driver import FakeDriver, compiled
from tensorrt_stub import HostGpu, StubContext, StubLogger, stub_library

SMALL = {"x": ((1, 3), (1, 3), (4, 3))}
LARGE = {"x": ((4, 3), (16, 3), (32, 3))}


def sidecar(*profiles: dict) -> PlanInfo:
    specs = [TensorSpec(name, DataType.FP32, (-1, 3)) for name in "xy"]
    return PlanInfo(
        backend="tensorrt", backend_version="10.16.1.11", tool_version="0", stack="s",
        platform="linux/amd64", device="sm86", model_digest="", graph_digest="", plan_digest="",
        plan_bytes=0, precision=Precision.FP32, inputs=(specs[0],), outputs=(specs[1],),
        max_batch=32, profiles=profiles,
    )  # fmt: skip


def engine(
    gpu: HostGpu | Stream, context: StubContext, *profiles: dict, cuda_graph: bool = True
) -> TensorRtEngine:
    loaded = (None, None, StubLogger())
    info = sidecar(*(profiles or (LARGE,)))
    return TensorRtEngine(stub_library(), loaded, context, info, gpu, cuda_graph=cuda_graph)  # type: ignore[arg-type]


def x(batch: int, start: float = 0) -> np.ndarray:
    return np.arange(batch * 3, dtype=np.float32).reshape(batch, 3) + start


def test_inputs_go_in_and_outputs_come_out():
    gpu, context = HostGpu(), StubContext()
    with_stub = engine(gpu, context)
    for batch in (4, 32, 7, 5, 7, 32):
        given = x(batch, batch)
        found = with_stub.run({"x": given})
        np.testing.assert_array_equal(found["y"], given + 1)
    strided = np.zeros((6, 6), np.float32)[:, ::2]
    np.testing.assert_array_equal(with_stub.run({"x": strided})["y"], np.ones((6, 3)))
    on_device = with_stub.run_on_device({"x": x(5)})["y"]
    assert on_device.__cuda_array_interface__["shape"] == (5, 3)
    np.testing.assert_array_equal(on_device.numpy(), x(5) + 1)


def test_an_answer_is_not_overwritten_by_the_next():
    with_stub = engine(HostGpu(), StubContext())
    first = with_stub.run({"x": x(4)})["y"]
    with_stub.run({"x": x(4, 100)})
    np.testing.assert_array_equal(first, x(4) + 1)


def test_a_shape_is_recorded_at_its_second_run_and_played_from_then_on():
    gpu, context = HostGpu(), StubContext()
    with_stub = engine(gpu, context)
    for _ in range(4):
        np.testing.assert_array_equal(with_stub.run({"x": x(8)})["y"], x(8) + 1)
    assert gpu.calls == ["record", "play", "play", "play"]


def test_growing_buffers_end_the_recordings_that_know_the_old_addresses():
    gpu = HostGpu()
    with_stub = engine(gpu, StubContext())
    for batch in (4, 4, 32, 32, 4):
        np.testing.assert_array_equal(with_stub.run({"x": x(batch)})["y"], x(batch) + 1)
    assert gpu.calls == ["record", "play", "forget", "record", "play"]


def test_no_graphs_when_they_are_switched_off_or_impossible(caplog: pytest.LogCaptureFixture):
    gpu = HostGpu()
    off = engine(gpu, StubContext(), cuda_graph=False)
    for _ in range(3):
        off.run({"x": x(4)})
    assert (gpu.calls, off.without_graph) == ([], "switched off")
    gpu = HostGpu()
    gpu.recordable = False
    impossible = engine(gpu, StubContext())
    with caplog.at_level(logging.INFO):
        for _ in range(3):
            np.testing.assert_array_equal(impossible.run({"x": x(4)})["y"], x(4) + 1)
    assert impossible.without_graph == "the work cannot be recorded"
    assert len(caplog.records) == 1


def test_the_graph_that_was_used_longest_ago_makes_room():
    gpu, done = HostGpu(), []
    graphs = GraphCache(gpu.capture, limit=2)
    for key in ("a", "a", "b", "b", "a", "c", "c", "a"):
        graphs.run(key, lambda key=key: done.append(key))
    assert done == ["a", "a", "b", "b", "a", "c", "c", "a"]
    assert gpu.calls == ["record", "play", "record", "play", "play",
                         "forget", "record", "play", "play"]  # fmt: skip
    assert len(graphs) == 2


def test_profiles_are_switched_by_shape_and_kept_while_they_fit():
    context = StubContext()
    with_stub = engine(HostGpu(), context, SMALL, LARGE)
    for batch in (1, 4, 5, 4, 3):
        np.testing.assert_array_equal(with_stub.run({"x": x(batch)})["y"], x(batch) + 1)
    assert context.profiles == [1, 0]


@pytest.mark.parametrize(
    ("batch", "active", "chosen"), [(1, 0, 0), (1, 1, 0), (4, 1, 1), (4, 0, 0), (20, 0, 1)]
)
def test_the_profile_for_a_shape(batch: int, active: int, chosen: int):
    assert choose_profile((SMALL, LARGE), {"x": (batch, 3)}, active) == chosen


def test_the_nearest_of_several_fitting_profiles():
    wide = {"x": ((1, 3), (32, 3), (64, 3))}
    assert choose_profile((wide, SMALL, LARGE), {"x": (4, 3)}, -1) == 1
    assert choose_profile((), {"x": (4, 3)}, 0) == 0


def test_a_shape_that_no_profile_takes():
    with pytest.raises(TensorMismatch, match=r"takes x \[2,3\]; it takes x \[4,3\] to \[32,3\]"):
        engine(HostGpu(), StubContext()).run({"x": x(2)})


def test_outputs_whose_shape_depends_on_values():
    gpu, context = HostGpu(), StubContext(hidden=True)
    with_stub = engine(gpu, context)
    for batch in (4, 20, 4):
        np.testing.assert_array_equal(with_stub.run({"x": x(batch)})["y"], x(batch) + 1)
    assert gpu.calls == []


def test_no_memory_for_an_output_whose_shape_depends_on_values():
    gpu = HostGpu()

    class Crowded(StubContext):
        def execute_async_v3(self, stream: int) -> bool:
            gpu.limit = 0
            return super().execute_async_v3(stream)

    with pytest.raises(EngineRunFailed, match="out of memory: 512 bytes"):
        engine(gpu, Crowded(hidden=True)).run({"x": x(32)})


def test_arrays_on_the_gpu_are_taken():
    gpu = HostGpu()
    given = x(4)

    class Foreign:
        @property
        def __cuda_array_interface__(self) -> dict:
            data, shape = (given.ctypes.data, False), given.shape
            return {"version": 3, "shape": shape, "typestr": "<f4", "data": data, "stream": 9}

    with_stub = engine(gpu, StubContext())
    np.testing.assert_array_equal(with_stub.run({"x": Foreign()})["y"], given + 1)
    assert gpu.calls == ["wait for 9"]


def test_a_failure_says_what_tensorrt_said():
    broken = engine(HostGpu(), StubContext(works=False))
    with pytest.raises(EngineRunFailed, match="tensorrt failed while it ran: it gives no reason"):
        broken.run({"x": x(4)})


def test_wrong_inputs_and_a_closed_engine():
    gpu = HostGpu()
    with_stub = engine(gpu, StubContext())
    with pytest.raises(TensorMismatch, match="expected datatype FP32"):
        with_stub.run({"x": x(4).astype(np.float64)})
    with_stub.run({"x": x(4)})
    with_stub.close()
    with_stub.close()
    assert gpu.buffers == {}
    assert gpu.calls == ["close"]
    with pytest.raises(EngineRunFailed, match="closed"):
        with_stub.run({"x": x(4)})


# -- on a driver without a GPU ------------------------------------------------------------------


@pytest.fixture
def fake(tmp_path: Path) -> FakeDriver:
    return FakeDriver(compiled("cuda.c", tmp_path / "libcuda.so.1"))


def test_everything_that_an_engine_takes_of_the_driver_is_given_back(fake: FakeDriver):
    on_driver = engine(Stream(fake.device()), StubContext(), cuda_graph=False)
    for batch in (4, 32, 7):
        np.testing.assert_array_equal(on_driver.run({"x": x(batch)})["y"], x(batch) + 1)
    left = on_driver.run_on_device({"x": x(5)})["y"]
    assert left.device == 0
    np.testing.assert_array_equal(left.numpy(), x(5) + 1)
    on_driver.close()
    assert fake.live == 0


def test_a_gpu_that_is_lost_while_tensorrt_runs_is_told_from_a_failure_of_tensorrt(
    fake: FakeDriver,
):
    context = StubContext(works=False)
    on_driver = engine(Stream(fake.device()), context, cuda_graph=False)
    with pytest.raises(EngineRunFailed, match="tensorrt failed while it ran"):
        on_driver.run({"x": x(4)})

    class Losing(StubContext):
        def execute_async_v3(self, stream: int) -> bool:
            fake.lose(700)
            return False

    on_driver = engine(Stream(fake.device()), Losing(), cuda_graph=False)
    for _ in range(2):
        with pytest.raises(DeviceLost, match="start the process again"):
            on_driver.run({"x": x(4)})
    on_driver.close()
