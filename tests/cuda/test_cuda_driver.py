"""Our calls of NVIDIA's driver, made to a library that checks them (fake_driver)."""

import ctypes
import os
import subprocess
import sys
import threading
from ctypes import c_float, c_int16, c_uint32, c_uint64
from pathlib import Path

import numpy as np
import pytest

from enginecrate.cuda.device import Device, Gpu, find_gpus
from enginecrate.cuda.driver import Driver, is_lost
from enginecrate.cuda.memory import Buffer, PinnedBuffer, RegisteredMemory
from enginecrate.cuda.modules import Module
from enginecrate.cuda.streams import Event, Stream
from enginecrate.errors import (
    BackendUnavailable,
    DeviceLost,
    EngineOutOfMemory,
    EngineRunFailed,
)
from enginecrate.values import ComputeCapability
from fake_driver import FakeDriver, compiled

PTX = b".version 7.0\n.target sm_75\n"


def test_the_gpus_of_a_machine(fake: FakeDriver):
    first, second = find_gpus(fake.start())
    assert first == Gpu(0, "Fake GPU 0", ComputeCapability(9, 0), 2**30)
    assert second == Gpu(1, "Fake GPU 1", ComputeCapability(9, 1), 2**30)


def test_a_machine_without_a_driver_or_a_gpu(fake: FakeDriver, tmp_path: Path):
    with pytest.raises(BackendUnavailable, match=r"no NVIDIA driver here .*--gpus all"):
        Driver(str(tmp_path / "libcuda.so.1"))
    fake.refuse_to_start(100)
    with pytest.raises(BackendUnavailable, match="the NVIDIA driver finds no GPU; check"):
        fake.start()
    fake.refuse_to_start(999)
    with pytest.raises(BackendUnavailable, match=r"cannot start: something went wrong \(.*999\)"):
        fake.start()
    fake.refuse_to_start(0)
    fake.has(0)
    with pytest.raises(BackendUnavailable, match="no GPU that this process may use"):
        find_gpus(fake.start())
    fake.has(2)
    with pytest.raises(BackendUnavailable, match=r"no GPU 2; this process may use 2.*Fake GPU 1"):
        fake.device(2)


def test_a_driver_that_is_too_old(tmp_path: Path):
    old = compiled("cuda.c", tmp_path / "libcuda.so.1", "-DOLD")
    with pytest.raises(BackendUnavailable, match="no cuGraphInstantiateWithFlags: it is older"):
        Driver(str(old))


def test_the_driver_is_found_by_the_loader_and_kept(library: Path):
    script = (
        "from enginecrate.cuda.device import find_gpus, open_device\n"
        "assert open_device(1) is open_device(1)\n"
        "print(find_gpus()[1].name, open_device(1).available())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | {"LD_LIBRARY_PATH": str(library.parent)},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "Fake GPU 1 1073741824\n", "")


def test_every_thread_uses_the_gpu_that_it_means(fake: FakeDriver):
    """A call without a current context fails, and another library may have set another one."""
    first, second = fake.device(0), fake.device(1)
    wrong: list[Exception] = []

    def work() -> None:
        try:
            for device in (first, second, first):
                device.free(device.allocate(64))
        except EngineRunFailed as exc:
            wrong.append(exc)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert wrong == []
    assert [line for line in fake.log if "MemAlloc" in line] == [
        f"cuMemAlloc_v2 64 on {number}" for number in (0, 1, 0)
    ]


def test_memory_goes_to_the_gpu_and_back(fake: FakeDriver):
    device = fake.device()
    stream, buffer = Stream(device), Buffer(device)
    given = np.arange(1000, dtype=np.float32)
    assert buffer.reserve(given.nbytes)
    assert buffer.pointer > 2**32, "the test needs an address that 32 bits do not hold"
    assert not buffer.reserve(100), "it is large enough"
    stream.copy_in(buffer.pointer, given.ctypes.data, given.nbytes)
    stream.copy_across(buffer.pointer, buffer.pointer + 2000, 2000)
    found = np.empty_like(given)
    stream.copy_to_array(found, buffer.pointer)
    np.testing.assert_array_equal(found, np.concatenate([given[500:], given[500:]]))
    stream.copy_in(0, 0, 0)
    assert (buffer.size, device.available()) == (4096, 2**30 - 4096)
    for _ in range(2):
        buffer.free()
        stream.close()
    assert (fake.used, fake.live) == (0, 0)
    with pytest.raises(EngineRunFailed, match="the stream is closed"):
        stream.wait()


def test_an_empty_tensor_has_an_address(fake: FakeDriver):
    buffer, pinned = Buffer(fake.device()), PinnedBuffer(fake.device())
    assert buffer.reserve(0)
    assert buffer.pointer
    assert pinned.array((0, 3), np.dtype(np.float32)).shape == (0, 3)
    assert fake.device().allocate(0)


def test_running_out_of_memory_is_told_with_figures(fake: FakeDriver):
    device = fake.device(1)
    device.allocate(2**20)
    with pytest.raises(
        EngineRunFailed,
        match=r"GPU 1 \(Fake GPU 1\) is out of memory: 4,294,971,392 bytes are needed, and "
        r"1,072,693,248 of 1,073,741,824 are free; use fewer instances",
    ):
        device.allocate(2**32 + 2**12)
    fake.fail("cuGraphLaunch", 2)
    with pytest.raises(EngineRunFailed, match="is out of memory: 1,072,693,248 of"):
        device.call("cuGraphLaunch", None, None)


def test_page_locked_memory_grows(fake: FakeDriver):
    pinned = PinnedBuffer(fake.device())
    small = pinned.array((2, 3), np.dtype(np.float32))
    small[:] = 7
    assert pinned.array((2, 3), np.dtype(np.float32)).ctypes.data == small.ctypes.data
    large = pinned.array((100, 3), np.dtype(np.float16))
    assert (large.shape, large.dtype) == ((100, 3), np.float16)
    pinned.free()
    pinned.free()
    assert fake.live == 0
    assert [line for line in fake.log if "Host" in line] == [
        "cuMemHostAlloc 256 flags 1", "cuMemHostAlloc 600 flags 1"
    ]  # fmt: skip


def test_memory_of_others_is_page_locked_for_a_while(fake: FakeDriver):
    device, memory = fake.device(), np.zeros(5000, np.uint8)
    with RegisteredMemory(device, memory.ctypes.data, memory.nbytes) as registered:
        assert fake.live == 1
        with pytest.raises(EngineRunFailed, match="cuMemHostRegister_v2: something went wrong"):
            RegisteredMemory(device, memory.ctypes.data, memory.nbytes)
    registered.close()
    assert fake.live == 0
    assert fake.log[0] == "cuMemHostRegister_v2 5000 flags 1"


def test_events_mark_places_in_streams(fake: FakeDriver):
    device = fake.device()
    first, second, event = Stream(device), Stream(device), Event(device)
    assert event.is_done(), "it was never recorded"
    event.record(first)
    second.follow(event)
    event.wait()
    assert event.is_done()
    assert first.is_done()
    fake.hold(True)
    assert (event.is_done(), first.is_done()) == (False, False)
    fake.hold(False)
    start, end = Event(device, timed=True), Event(device, timed=True)
    assert end.seconds_since(start) == 0.25
    assert [line for line in fake.log if "flags" in line] == [
        "cuStreamCreate flags 1", "cuStreamCreate flags 1",
        "cuEventCreate flags 2", "cuEventCreate flags 0", "cuEventCreate flags 0",
    ]  # fmt: skip
    for one in (first, second, event, start, end, event):
        one.close()
    assert fake.live == 0


def test_streams_of_others_are_waited_for(fake: FakeDriver):
    stream = Stream(fake.device())
    stream.wait_for(None)
    stream.wait_for(1)
    stream.wait_for(stream.handle)
    assert [line for line in fake.log if "Synchronize" in line] == [
        "cuStreamSynchronize default", "cuStreamSynchronize own"
    ]  # fmt: skip


def test_other_threads_go_on_while_one_waits(fake: FakeDriver):
    """With the GIL held, nobody could end the wait."""
    stream, wrong = Stream(fake.device()), []

    def wait() -> None:
        try:
            stream.wait()
        except EngineRunFailed as exc:
            wrong.append(exc)

    fake.hold(True)
    thread = threading.Thread(target=wait)
    thread.start()
    while "cuStreamSynchronize own" not in fake.log:
        pass
    fake.hold(False)
    thread.join()
    assert wrong == []


def test_work_is_recorded_and_runs_with_one_call(fake: FakeDriver):
    device = fake.device()
    stream, source, target = Stream(device), Buffer(device), Buffer(device)
    source.reserve(16)
    target.reserve(16)
    given, found = np.arange(4, dtype=np.float32), np.zeros(4, np.float32)

    def work() -> None:
        stream.copy_in(source.pointer, given.ctypes.data, 16)
        stream.copy_across(target.pointer, source.pointer, 16)
        stream.copy_out(found.ctypes.data, target.pointer, 16)

    graph = stream.capture(work)
    assert not found.any(), "it was recorded only"
    for start in (10, 20):
        given[:] = np.arange(start, start + 4)
        graph.launch()
        stream.wait()
        np.testing.assert_array_equal(found, given)
    assert "cuStreamBeginCapture_v2 mode 1" in fake.log
    for one in (graph, graph, stream):
        one.close()
    source.free()
    target.free()
    assert fake.live == 0


def test_work_that_cannot_be_recorded_leaves_the_stream_usable(fake: FakeDriver):
    device = fake.device()
    stream = Stream(device)

    def forbidden() -> None:
        device.allocate(16)

    def broken() -> None:
        raise ZeroDivisionError

    with pytest.raises(EngineRunFailed, match=r"cuStreamEndCapture: .*901"):
        stream.capture(forbidden)
    with pytest.raises(ZeroDivisionError):
        stream.capture(broken)
    fake.fail("cuGraphInstantiateWithFlags", 801)
    with pytest.raises(EngineRunFailed, match="801"):
        stream.capture(lambda: None)
    assert fake.live == 1, "the stream alone"
    stream.capture(lambda: None).close()
    stream.close()
    assert fake.live == 0


def test_kernels_get_their_arguments(fake: FakeDriver):
    device = fake.device()
    stream, buffer, module = Stream(device), Buffer(device), Module(device, PTX)
    given = np.arange(8, dtype=np.float32)
    buffer.reserve(given.nbytes)
    stream.copy_in(buffer.pointer, given.ctypes.data, given.nbytes)
    arguments = (c_uint64(buffer.pointer), c_uint32(7), c_int16(-3), c_float(0.5))
    module.kernel("add").launch(stream, (1, 2, 3), (4, 5, 6), arguments, shared_bytes=7)
    found = np.empty_like(given)
    stream.copy_to_array(found, buffer.pointer)
    np.testing.assert_array_equal(found, np.concatenate([given[:7] - 1.5, given[7:]]))
    assert "cuLaunchKernel 1 2 3 x 4 5 6 shared 7" in fake.log
    with pytest.raises(EngineRunFailed, match="cuModuleGetFunction"):
        module.kernel("subtract")
    with pytest.raises(EngineRunFailed, match=r"cuLaunchKernel: .*\(.*, 1\)"):
        module.kernel("add").launch(stream, (0, 1, 1), (1, 1, 1), arguments)
    module.close()
    module.close()
    buffer.free()
    stream.close()
    assert fake.live == 0


def test_code_that_does_not_compile_is_told_in_the_compilers_words(fake: FakeDriver):
    with pytest.raises(
        EngineRunFailed, match=r"218\).*the compiler says: line 1; error: not PTX: hello"
    ):
        Module(fake.device(), b"hello")
    fake.fail("cuModuleLoadDataEx", 2)
    with pytest.raises(EngineRunFailed, match=r"out of memory: [^:]*$"):
        Module(fake.device(), PTX)


LOST = [214, 220, 226, 700, 702, 710, 714, 715, 716, 717, 718, 719, 721, 911]


@pytest.mark.parametrize("status", LOST)
def test_a_lost_gpu_asks_for_a_new_process(fake: FakeDriver, status: int):
    device = fake.device()
    stream, buffer = Stream(device), Buffer(device)
    event, module, graph = Event(device), Module(device, PTX), stream.capture(lambda: None)
    buffer.reserve(1)
    memory = np.zeros(64, np.uint8)
    registered = RegisteredMemory(device, memory.ctypes.data, memory.nbytes)
    fake.lose(status)
    calls = (
        stream.wait, stream.is_done, event.wait, event.is_done, graph.launch, device.available,
        lambda: device.allocate(1), lambda: stream.capture(lambda: None),
        lambda: Module(device, b"hello"),
    )  # fmt: skip
    for call in calls:
        with pytest.raises(
            DeviceLost,
            match=rf"GPU 0 \(Fake GPU 0\) is lost to this process: cu\w+: .*{status}\); start the "
            "process again",
        ):
            call()
    for one in (graph, module, event, registered, stream):
        one.close()  # there is nothing to give back, and nothing to complain about
    buffer.free()


def test_other_errors_leave_the_gpu_usable(fake: FakeDriver):
    device = fake.device()
    for status in (1, 2, 201, 400, 600, 701, 709, 712, 720, 900, 901, 999):
        assert not is_lost(status)
        fake.fail("cuMemAlloc_v2", status)
        with pytest.raises(EngineRunFailed) as caught:
            device.allocate(16)
        kind = EngineOutOfMemory if status == 2 else EngineRunFailed
        assert type(caught.value) is kind
        device.free(device.allocate(16))


def test_an_error_that_the_driver_does_not_know_has_its_number(fake: FakeDriver):
    device = fake.device()
    fake.fail("cuMemAlloc_v2", 12345)
    with pytest.raises(EngineRunFailed, match=r"cuMemAlloc_v2: unknown error \(.*, 12345\)"):
        device.allocate(16)


def test_the_current_gpu_of_a_thread_is_set_for_others(fake: FakeDriver):
    device = Device(1, fake.start())
    device.activate()
    pointer = c_uint64()
    raw = ctypes.CDLL(str(fake.path)).cuMemAlloc_v2
    raw.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
    assert raw(ctypes.byref(pointer), 32) == 0
    assert fake.log[-1] == "cuMemAlloc_v2 32 on 1"
