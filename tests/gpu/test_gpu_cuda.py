"""The driver itself, called by `enginecrate.cuda`."""

import mmap
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from ctypes import c_float, c_uint32, c_uint64
from pathlib import Path

import numpy as np
import pytest
from kernels import ADD

from enginecrate.cuda.device import Device, Gpu, open_device
from enginecrate.cuda.memory import Buffer, PinnedBuffer, RegisteredMemory
from enginecrate.cuda.modules import Module
from enginecrate.cuda.streams import Event, Stream
from enginecrate.engines.tensorrt.execution import TensorRtEngine
from enginecrate.errors import EngineRunFailed
from enginecrate.values import DataType, PlanInfo, Precision, TensorSpec
from tensorrt_stub import StubContext, StubLogger, stub_library
from tiny_models import save, wordy_linear

SECOND = 10**9


@pytest.fixture(scope="module")
def device() -> Device:
    return open_device(0)


@pytest.fixture
def stream(device: Device) -> Iterator[Stream]:
    stream = Stream(device)
    yield stream
    stream.close()


@pytest.fixture(scope="module")
def module(device: Device) -> Iterator[Module]:
    module = Module(device, ADD)
    yield module
    module.close()


def numbers(count: int) -> np.ndarray:
    return np.random.default_rng(count).standard_normal(count).astype(np.float32)


def put(stream: Stream, array: np.ndarray) -> Buffer:
    buffer = Buffer(stream.device)
    buffer.reserve(array.nbytes)
    stream.copy_in(buffer.pointer, array.ctypes.data, array.nbytes)
    stream.wait()
    return buffer


def add(module: Module, stream: Stream, x: int, y: int, count: int, by: float) -> None:
    arguments = (c_uint64(x), c_uint64(y), c_uint32(count), c_float(by))
    module.kernel("add_number").launch(stream, (-(-count // 256), 1, 1), (256, 1, 1), arguments)


def rest(module: Module, stream: Stream, nanoseconds: int) -> None:
    module.kernel("rest").launch(stream, (1, 1, 1), (1, 1, 1), [c_uint64(nanoseconds)])


def test_memory_makes_a_round_trip(device: Device, stream: Stream):
    given = numbers(2**24)
    buffer, found = put(stream, given), np.zeros(2**24, np.float32)
    stream.copy_across(buffer.pointer, buffer.pointer + given.nbytes // 2, given.nbytes // 2)
    stream.copy_to_array(found, buffer.pointer)
    np.testing.assert_array_equal(found, np.concatenate([given[2**23 :]] * 2))
    free = device.available()
    buffer.free()
    assert device.available() > free


def test_running_out_of_memory_is_told_and_harms_nothing(device: Device, gpu: Gpu):
    with pytest.raises(EngineRunFailed, match=r"out of memory: .* bytes are needed, and .* free"):
        device.allocate(2 * gpu.memory_bytes)
    device.free(device.allocate(2**20))


def test_registered_memory_of_a_file_is_copied(device: Device, stream: Stream):
    """As the arenas of a server are: sealed files in memory, mapped by several processes."""
    given, size = numbers(2**18), 2**20
    file = os.memfd_create("arena")
    os.ftruncate(file, size)
    with mmap.mmap(file, size) as mapped:
        array = np.frombuffer(mapped, np.float32)
        array[:] = given
        with RegisteredMemory(device, array.ctypes.data, size):
            with pytest.raises(EngineRunFailed, match=r"712\)"):
                RegisteredMemory(device, array.ctypes.data, size)
            buffer = put(stream, array)
            array[:] = 0
            stream.copy_to_array(array, buffer.pointer)
            np.testing.assert_array_equal(array, given)
        with RegisteredMemory(device, array.ctypes.data, size):
            pass  # it can be registered again
        del array
    os.close(file)
    buffer.free()


def test_kernels_run(module: Module, stream: Stream):
    given = numbers(1000)
    buffer, found = put(stream, given), np.empty(1000, np.float32)
    add(module, stream, buffer.pointer, buffer.pointer, 999, 0.5)
    stream.copy_to_array(found, buffer.pointer)
    np.testing.assert_array_equal(
        found, np.concatenate([given[:999] + np.float32(0.5), given[999:]])
    )
    buffer.free()


def test_code_that_does_not_compile(device: Device, module: Module):
    with pytest.raises(EngineRunFailed, match=r"the compiler says: .*nonsense"):
        Module(device, b".version 7.0\n.target sm_75\nnonsense\n")
    with pytest.raises(EngineRunFailed, match=r"cuModuleGetFunction: .*500\)"):
        module.kernel("nothing")


def test_a_stream_follows_another_by_an_event(device: Device, module: Module, stream: Stream):
    other, event = Stream(device), Event(device)
    given, found = numbers(256), np.empty(256, np.float32)
    buffer, pinned = put(stream, given), PinnedBuffer(device)
    staged = pinned.array((256,), given.dtype)
    assert event.is_done(), "it was never recorded"
    rest(module, stream, SECOND)
    add(module, stream, buffer.pointer, buffer.pointer, 256, 1)
    event.record(stream)
    other.follow(event)
    other.copy_out(staged.ctypes.data, buffer.pointer, given.nbytes)
    assert (event.is_done(), stream.is_done(), other.is_done()) == (False, False, False)
    other.wait()
    assert event.is_done()
    np.testing.assert_array_equal(staged, given + np.float32(1))
    stream.copy_to_array(found, buffer.pointer)
    np.testing.assert_array_equal(found, staged)
    for one in (other, event):
        one.close()
    buffer.free()
    pinned.free()


def test_time_passes_between_events(device: Device, module: Module, stream: Stream):
    start, end = Event(device, timed=True), Event(device, timed=True)
    start.record(stream)
    rest(module, stream, SECOND // 100)
    end.record(stream)
    end.wait()
    assert end.seconds_since(start) > 0
    start.close()
    end.close()


def test_recorded_work_is_replayed(device: Device, module: Module, stream: Stream):
    given, pinned = numbers(512), PinnedBuffer(device)
    buffer, staged = put(stream, given), pinned.array((512,), np.dtype(np.float32))

    def work() -> None:
        stream.copy_in(buffer.pointer, staged.ctypes.data, staged.nbytes)
        add(module, stream, buffer.pointer, buffer.pointer, 512, 2)
        stream.copy_out(staged.ctypes.data, buffer.pointer, staged.nbytes)

    staged[:] = given
    graph = stream.capture(work)
    stream.wait()
    np.testing.assert_array_equal(staged, given)
    for _ in range(3):
        staged[:] = given
        graph.launch()
        stream.wait()
        np.testing.assert_array_equal(staged, given + np.float32(2))
    graph.close()
    buffer.free()
    pinned.free()


def test_work_that_cannot_be_recorded_leaves_the_stream_usable(
    device: Device, module: Module, stream: Stream
):
    with pytest.raises(EngineRunFailed):
        stream.capture(lambda: device.free(device.allocate(64)))
    test_recorded_work_is_replayed(device, module, stream)


def test_other_threads_work_while_one_records(device: Device, stream: Stream):
    failed: list[Exception] = []

    def work() -> None:
        try:
            buffer = put(Stream(device), numbers(100))
            buffer.free()
        except EngineRunFailed as exc:
            failed.append(exc)

    def record() -> None:
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()

    stream.capture(record).close()
    assert failed == []


# -- what TensorRT's engine does around TensorRT --------------------------------------------------


class OnGpu(StubContext):
    """y = x + 1, computed by a kernel in the stream that is given."""

    module: Module
    stream: Stream

    def execute_async_v3(self, stream: int) -> bool:
        assert stream == self.stream.handle
        count = int(np.prod(self.shapes["x"]))
        add(self.module, self.stream, self.addresses["x"], self.addresses["y"], count, 1)
        self.runs += 1
        return True


def test_the_engine_for_tensorrt_records_and_replays_a_kernel(device: Device, module: Module):
    specs = [TensorSpec(name, DataType.FP32, (-1, 3)) for name in "xy"]
    info = PlanInfo(
        backend="tensorrt", backend_version="10.16.1.11", tool_version="0", stack="s",
        platform="linux/amd64", device="sm90", model_digest="", graph_digest="", plan_digest="",
        plan_bytes=0, precision=Precision.FP32, inputs=(specs[0],), outputs=(specs[1],),
        max_batch=4096, profiles=({"x": ((1, 3), (16, 3), (4096, 3))},),
    )  # fmt: skip
    context, stream = OnGpu(), Stream(device)
    context.module, context.stream = module, stream
    engine = TensorRtEngine(stub_library(), (None, None, StubLogger()), context, info, stream)  # type: ignore[arg-type]
    for turn in range(5):
        for batch in (4, 4096, 7):
            given = numbers(3 * batch).reshape(batch, 3) + np.float32(turn)
            found = engine.run({"x": given})["y"]
            np.testing.assert_array_equal(found, given + np.float32(1))
            left = engine.run_on_device({"x": given})["y"]
            again = engine.run({"x": left.numpy()})["y"]
            np.testing.assert_array_equal(again, found + np.float32(1))
    assert engine.without_graph == ""
    assert context.runs < 20, "most of the 45 runs are replayed"
    engine.close()


# -- a GPU that is lost, in a process of its own --------------------------------------------------

LOSE = """
import sys
from ctypes import c_uint64
from kernels import SPOIL
from enginecrate.cuda.device import open_device
from enginecrate.cuda.memory import Buffer
from enginecrate.cuda.modules import Module
from enginecrate.cuda.streams import Stream
from enginecrate.errors import DeviceLost

device = open_device(0)
stream, module, buffer = Stream(device), Module(device, SPOIL), Buffer(device)
buffer.reserve(64)
one, kind = (1, 1, 1), sys.argv[1]
if kind == "trapped":
    module.kernel("trapped").launch(stream, one, one, [])
else:
    address = c_uint64(16 if kind == "illegal" else buffer.pointer + 1)
    module.kernel("store_at").launch(stream, one, one, [address])
for call in (stream.wait, device.available, stream.is_done, lambda: device.allocate(64)):
    try:
        call()
    except DeviceLost as exc:
        print(exc)
for one in (stream, module):
    one.close()
buffer.free()
"""


@pytest.mark.parametrize(
    ("kind", "statuses"),
    [("illegal", (700,)), ("misaligned", (716,)), ("trapped", (715, 719))],
)
def test_a_kernel_that_spoils_everything_is_told(gpu: Gpu, kind: str, statuses: tuple[int, ...]):
    done = child(LOSE, kind)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 4, done.stdout
    for line in lines:
        assert line.startswith(f"GPU 0 ({gpu.name}) is lost to this process: cu")
        assert any(f", {status})" in line for status in statuses), line


LOSE_ENGINE = """
import os, sys
from ctypes import c_uint64
from pathlib import Path
import numpy as np
from kernels import SPOIL
from enginecrate.cuda.device import open_device
from enginecrate.cuda.modules import Module
from enginecrate.cuda.streams import Stream
from enginecrate.engines.base import BuildOptions, Plan, RunOptions
from enginecrate.engines.onnxruntime.backend import OnnxRuntimeBackend
from enginecrate.errors import DeviceLost
from enginecrate.graph.onnx.model import read_model

path = Path(sys.argv[1])
backend = OnnxRuntimeBackend()
built = backend.build(read_model(path), BuildOptions(stack="ort-cuda130", device="cuda"))
path.write_bytes(built.data)
engine = backend.load(Plan(path, built.info), RunOptions())
x = np.ones((2, 3), np.float32)
engine.run({"x": x})
device = open_device(0)
spoil, one = Module(device, SPOIL), (1, 1, 1)
spoil.kernel("store_at").launch(Stream(device), one, one, [c_uint64(16)])
for _ in range(2):
    try:
        engine.run({"x": x})
    except DeviceLost as exc:
        print(exc, flush=True)
os._exit(0)  # what onnxruntime does at its end with a lost GPU is no matter of ours
"""


def test_an_engine_of_onnxruntime_on_a_lost_gpu(gpu: Gpu, tmp_path: Path):
    """The context of the driver is that of the CUDA runtime: what is lost here is lost there."""
    done = child(LOSE_ENGINE, str(save(wordy_linear(), tmp_path / "m.onnx")))
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 2, done.stdout + done.stderr
    assert all("is lost to this process" in line and "700)" in line for line in lines)


def child(script: str, argument: str) -> subprocess.CompletedProcess[str]:
    here = str(Path(__file__).parent)
    path = os.pathsep.join([here, *filter(None, [os.environ.get("PYTHONPATH")])])
    return subprocess.run(
        [sys.executable, "-c", script, argument],
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
