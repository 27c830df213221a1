"""Photos that cost much: the process that decodes them, the budget of memory, and the others."""

import concurrent.futures
import contextlib
import gzip
import http.client
import io
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from functools import cache, partial
from itertools import repeat, starmap
from pathlib import Path

import httpx
import numpy as np
import onnx
import psutil
import pytest
from onnx import TensorProto, helper
from PIL import Image

from enginecrate.errors import ImageTooCostly, MemoryLacking, QueueFull
from enginecrate.pipelines.base import Limits
from enginecrate.pipelines.cost import DecodeCost
from enginecrate.pipelines.image_tensors import ImagePipeline
from enginecrate.pipelines.loader import built_in_input
from enginecrate.server.decoding import decoder_process
from enginecrate.server.decoding.decoder_process import Cancellation, DecoderProcess
from enginecrate.server.decoding.decoding import Decoding
from enginecrate.server.decoding.message import Pictured, PictureOrder, pack, unpack_answer
from enginecrate.server.http.workers import Workers
from enginecrate.server.memory.budget import MemoryBudget
from enginecrate.server.scheduling.client import Client
from enginecrate.values import DataType, PipelineSpec, TensorSpec
from pictures import encoded, noise, png, scene

MIB = 1 << 20
ALICE, BOB = Client("192.0.2.1", 1), Client("192.0.2.2", 2)
SMALL = encoded(scene(), "JPEG")
SPEC = PipelineSpec(task="image")
INPUT, OUTPUT = (TensorSpec(name, DataType.FP32, (1, 3, 64, 64)) for name in "xy")


def wide(side: int = 4000) -> bytes:
    """A WebP of a few bytes that takes 16 for each of its pixels."""
    return encoded(Image.new("RGB", (side, side), (9, 60, 200)), "WEBP", lossless=True, method=0)


@cache
def endless() -> bytes:
    """A progressive JPEG of 64 megapixels with 199 scans: 75 kB, many seconds."""
    data = encoded(Image.new("RGB", (8000, 8000)), "JPEG", progressive=True)
    start = data.rindex(b"\xff\xda")
    scan, count = data[start:-2], data.count(b"\xff\xda")
    return data[:start] + scan * (199 - count) + data[-2:]


WIDE = wide()
USUAL, LONG = DecodeCost(400 * MIB, 1000.0), DecodeCost(2000 * MIB, 60_000.0)
ORDER = PictureOrder(SPEC, (64, 64), Limits())


def until(condition: Callable[[], object]) -> None:
    """Wait for something that sends no word; pytest's own limit ends what never comes."""
    while not condition():
        threading.Event().wait(0.01)


# The budget, and workers that keep to it


def test_a_budget_is_never_exceeded_while_something_is_held():
    budget = MemoryBudget(100)
    assert budget.try_take(60)
    assert not budget.try_take(41)
    assert budget.try_take(40)
    freed: list[int] = []
    budget.on_freed(lambda: freed.append(budget.held))
    budget.give_back(60)
    budget.give_back(40)
    assert freed == [40, 0]
    assert budget.try_take(101)  # alone: it would never begin otherwise
    assert budget.limit() == 100


def test_a_budget_without_a_limit_is_what_is_left(monkeypatch: pytest.MonkeyPatch):
    left = iter([100 * MIB, 10 * MIB, 0, 50 * MIB])
    clock = iter([0.0, 1.0, 31.0, 62.0])
    budget = MemoryBudget(measure=lambda: next(left))
    monkeypatch.setattr(time, "monotonic", lambda: next(clock, 62.5))
    # What is held now is not lost: the best of the last half to whole minute counts.
    limits = [budget.limit() for _ in range(4)]
    assert limits == [80 * MIB, 80 * MIB, 80 * MIB, 40 * MIB]
    assert budget.try_take(40 * MIB)
    assert not budget.try_take(1)
    monkeypatch.undo()
    assert MemoryBudget(measure=lambda: 0).limit() == 0  # nobody knows
    assert MemoryBudget(1000, share=0.25).limit() == 250
    assert MemoryBudget(share=0.5, measure=lambda: 100 * MIB).limit() == 40 * MIB
    assert MemoryBudget().limit() > 0


def test_tasks_begin_when_their_memory_fits():
    budget = MemoryBudget(100)
    workers = Workers(3, max_pending=9, budget=budget)
    gates = [threading.Event() for _ in range(4)]
    begun = [threading.Event() for _ in range(4)]
    seen: list[int] = []

    def work(number: int) -> None:
        seen.append(budget.held)
        begun[number].set()
        gates[number].wait(10)

    for number, memory in enumerate((60, 60, 30, 0)):
        workers.post(lambda n=number: work(n), memory=memory, client=ALICE)
    workers.post_first(begun[3].set)
    assert begun[0].wait(5)
    gates[3].set()
    assert not begun[1].is_set()
    gates[0].set()
    assert begun[1].wait(5)
    assert begun[2].wait(5)
    for gate in gates:
        gate.set()
    until(lambda: budget.held == 0)
    assert max(seen) <= 100
    workers.close()


def test_what_takes_long_has_a_thread_of_its_own():
    workers = Workers(1, max_pending=2)
    gate = threading.Event()
    aside = [workers.submit_aside(ALICE, gate.wait, 10) for _ in range(2)]
    assert workers.submit(lambda: 7).result(5) == 7
    gate.set()
    assert all(future.result(5) for future in aside)
    workers.close()


# The process


@pytest.fixture
def process() -> Iterator[DecoderProcess]:
    made = DecoderProcess(seconds=30)
    yield made
    made.close()


def call(
    process: DecoderProcess,
    photo: bytes,
    cost: DecodeCost = USUAL,
    cancellation: Cancellation | None = None,
) -> bytes:
    return process.call("picture", pack(ORDER, photo), cost, cancellation or Cancellation())


def decoders(parent: int) -> list[psutil.Process]:
    """The decoder processes of a process."""
    found = []
    for child in psutil.Process(parent).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
            if "decoder_work" in " ".join(child.cmdline()):
                found.append(child)
    return found


def children() -> list[psutil.Process]:
    return decoders(os.getpid())


def works(parent: int) -> bool:
    """True when a decoder process is in the middle of something."""
    return any(child.cpu_times().user > 0.7 for child in decoders(parent))


@pytest.mark.parametrize("photo", [SMALL, encoded(noise(90, 70), "PNG")])
def test_the_process_gives_the_pixels_that_a_thread_gives(process: DecoderProcess, photo: bytes):
    pipeline = ImagePipeline(SPEC, [INPUT], [OUTPUT], [], Limits())
    head, pixels = unpack_answer(call(process, photo))
    assert isinstance(head, Pictured)
    expected = pipeline.image_input.picture(photo)
    assert bytes(pixels) == expected.image.tobytes()
    assert head.placement == expected.placement
    assert (head.mode, head.size) == (expected.image.mode, expected.image.size)


def test_a_call_without_enough_memory_says_so_and_the_next_one_works(process: DecoderProcess):
    with pytest.raises(MemoryLacking, match="not enough memory to decode the image"):
        call(process, wide(6000), DecodeCost(16 * MIB, 1000.0))
    assert call(process, SMALL)


@pytest.mark.full
def test_a_process_that_the_kernel_ends_is_lack_of_memory(process: DecoderProcess):
    call(process, SMALL)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        running = pool.submit(call, process, endless(), LONG)
        until(lambda: works(os.getpid()))
        children()[0].kill()
        with pytest.raises(MemoryLacking):
            running.result(20)
    assert call(process, SMALL)


def test_a_call_whose_client_has_gone_ends_at_once(process: DecoderProcess):
    cancellation = Cancellation()
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        running = pool.submit(call, process, endless(), LONG, cancellation)
        until(children)
        cancellation.cancel()
        with pytest.raises(concurrent.futures.CancelledError):
            running.result(20)
    assert children() == []
    with pytest.raises(concurrent.futures.CancelledError):
        call(process, SMALL, cancellation=cancellation)
    assert call(process, SMALL)


def test_a_call_has_a_deadline():
    process = DecoderProcess(seconds=1)
    with pytest.raises(ImageTooCostly, match="takes longer than this server allows"):
        call(process, endless(), LONG)
    process.close()


def test_an_idle_process_is_ended(process: DecoderProcess, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(decoder_process, "IDLE_SECONDS", 0.1)
    call(process, SMALL)
    until(lambda: children() == [])
    assert call(process, SMALL)


def test_one_costly_photo_at_a_time_in_all_processes(tmp_path: Path):
    """The lock is the kernel's: whoever dies with it lets the next one go on."""
    lock = tmp_path / "lock"
    lock.touch()
    holder = subprocess.Popen(
        [sys.executable, "-c", "import fcntl, sys, time; f = open(sys.argv[1], 'r+'); "
         "fcntl.flock(f, fcntl.LOCK_EX); print('held', flush=True); time.sleep(60)", str(lock)],
        stdout=subprocess.PIPE,
    )  # fmt: skip
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    process = DecoderProcess(seconds=30, lock=lock)
    with concurrent.futures.ThreadPoolExecutor(1) as pool, contextlib.closing(holder.stdout):
        waiting = pool.submit(call, process, SMALL)
        given_up = Cancellation()
        given_up.cancel()
        with pytest.raises(concurrent.futures.CancelledError):
            call(DecoderProcess(seconds=30, lock=lock), SMALL, cancellation=given_up)
        assert not waiting.done()
        holder.kill()
        holder.wait()
        assert waiting.result(20)
    process.close()


def test_the_lock_of_an_inherited_descriptor_is_our_own():
    """Two that inherit one descriptor share its lock; opened anew, each has its own."""
    shared = os.memfd_create("lock")
    path = Path(f"/proc/self/fd/{shared}")
    first, second = DecoderProcess(seconds=30, lock=path), DecoderProcess(seconds=1, lock=path)
    refused = pytest.raises(MemoryLacking, match="other costly images")
    with first._alone(time.monotonic() + 9, Cancellation()), refused:
        call(second, SMALL)
    assert call(second, SMALL)
    second.close()
    os.close(shared)


# The choice


@pytest.fixture
def decoding() -> Iterator[Decoding]:
    budget = MemoryBudget(600 * MIB)
    workers = Workers(1, max_pending=64, budget=budget)
    made = Decoding(workers, budget, max_pending=64, seconds=30)
    yield made
    made.close()
    workers.close()


def pipeline() -> ImagePipeline:
    return ImagePipeline(SPEC, [INPUT], [OUTPUT], [], Limits())


def test_what_never_fits_is_refused_before_anything(decoding: Decoding):
    with pytest.raises(ImageTooCostly, match=r"takes about 1,0\d\d MB .* has 629 MB"):
        decoding.job(pipeline(), wide(8000), Limits())


def test_with_little_memory_less_is_costly():
    budget = MemoryBudget(8 * MIB)
    workers = Workers(1, max_pending=4, budget=budget)
    decoding = Decoding(workers, MemoryBudget(100 * MIB), max_pending=4, seconds=30)
    photo = encoded(noise(700, 700), "PNG")
    job = decoding.job(pipeline(), photo, Limits())
    assert 4 * MIB < job.cost.bytes < 8 * MIB
    assert job.is_costly
    assert job.prepare().tensors["x"].shape == (1, 3, 64, 64)
    assert not decoding.job(pipeline(), SMALL, Limits()).is_costly
    decoding.close()
    workers.close()


def test_cheap_and_costly_photos_become_the_same_tensors(decoding: Decoding):
    for photo in (SMALL, WIDE):
        job = decoding.job(pipeline(), photo, Limits())
        assert job.is_costly == (photo is WIDE)
        tensors = job.prepare().tensors["x"]
        assert np.array_equal(tensors, pipeline().prepare(photo).tensors["x"])
    assert children()


def test_an_error_of_the_process_is_the_error_that_a_thread_gives(decoding: Decoding):
    damaged = png(4000, 4000, bytes(4001 * 40), color=6)
    job = decoding.job(pipeline(), damaged, Limits())
    assert job.is_costly
    with pytest.raises(Exception, match="damaged") as there:
        job.prepare()
    with pytest.raises(Exception, match="damaged") as here:
        pipeline().prepare(damaged)
    assert (type(there.value), str(there.value)) == (type(here.value), str(here.value))


class Own(ImagePipeline):
    """A vendor's class, with a step of its own."""

    def prepare(self, payload: bytes | memoryview):
        if payload == b"much":
            raise MemoryError
        return super().prepare(payload)


def test_a_class_of_the_vendors_own_runs_here_in_the_thread_for_what_is_costly(decoding: Decoding):
    own = Own(SPEC, [INPUT], [OUTPUT], [], Limits())
    assert built_in_input(own) is None
    camera = encoded(scene(4000, 3000), "JPEG")
    assert not decoding.is_costly(DecodeCost(250 * MIB, 900.0), own=True)
    assert decoding.is_costly(DecodeCost(250 * MIB, 900.0))
    assert not decoding.job(own, camera, Limits()).is_costly
    job = decoding.job(own, wide(4500), Limits())
    assert job.is_costly
    names: list[str] = []
    done = threading.Event()

    def run() -> None:
        names.append(threading.current_thread().name)
        job.prepare()
        done.set()

    job.post(run, client=ALICE)
    assert done.wait(20)
    assert names == ["costly-0"]
    assert children() == []
    with pytest.raises(MemoryLacking):
        decoding.job(own, b"much", Limits()).prepare()


def test_costly_photos_of_one_client_let_another_ones_through(decoding: Decoding):
    gate, order = threading.Event(), []
    decoding.costly.post(lambda: gate.wait(10))
    for _ in range(3):
        decoding.job(pipeline(), WIDE, Limits()).post(lambda: order.append("alice"), client=ALICE)
    full = partial(decoding.job(pipeline(), WIDE, Limits()).post, lambda: None, client=ALICE)
    with pytest.raises(QueueFull):
        deque(starmap(full, repeat((), 64)))
    decoding.job(pipeline(), WIDE, Limits()).post(lambda: order.append("bob"), client=BOB)
    cheap = decoding.workers.submit(lambda: "cheap")
    assert cheap.result(5) == "cheap"
    gate.set()
    until(lambda: "bob" in order)
    assert order.index("bob") <= 1


# A server


def image_model() -> onnx.ModelProto:
    """The mean of each colour of a photo."""
    graph = helper.make_graph(
        [helper.make_node("GlobalAveragePool", ["x"], ["y"])],
        "means",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3, 64, 64])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 3, 1, 1])],
    )
    opsets = [helper.make_opsetid("", 17)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("means")
    onnx.save(image_model(), folder / "model.onnx")
    (folder / "enginecrate.toml").write_text(
        '[app]\nname = "means"\nversion = "1.0.0"\n[model]\npath = "model.onnx"\n'
        '[pipeline]\ntask = "image"\n'
    )
    return folder


@pytest.fixture(scope="module")
def server(session_launcher, project: Path):
    return session_launcher(project, decode_threads=1, decode_memory_bytes=1200 * MIB)


def multipart(photo: bytes, count: int) -> tuple[bytes, dict[str, str]]:
    part = b'--B\r\nContent-Disposition: form-data; name="f"; filename="a"\r\n\r\n%b\r\n' % photo
    return part * count + b"--B--\r\n", {"content-type": "multipart/form-data; boundary=B"}


def predict(server, body: bytes, headers: dict[str, str] | None = None) -> httpx.Response:
    with server.client(timeout=60) as client:
        return client.post("/v1/predict", content=body, headers=headers or {})


def high_water(server) -> int:
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


def test_memory_of_costly_photos_is_not_the_servers(server):
    predict(server, SMALL)
    before = high_water(server)
    body, headers = multipart(WIDE, 3)
    assert predict(server, body, headers).status_code == 200
    assert high_water(server) - before < 100 * MIB  # one of them takes 256


@pytest.mark.parametrize(
    "attack",
    [
        pytest.param(lambda: multipart(endless(), 64), marks=pytest.mark.full, id="scans"),
        pytest.param(lambda: multipart(wide(7000), 64), id="webp"),
    ],
)
def test_an_honest_photo_is_answered_while_costly_ones_are_decoded(server, attack):
    body, headers = attack()
    costly = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    headers["content-encoding"] = "gzip"
    costly.request("POST", "/v1/predict", gzip.compress(body), headers)
    until(lambda: works(server.process.pid))
    for _ in range(5):
        assert predict(server, SMALL).status_code == 200
    assert select.select([costly.sock], [], [], 0)[0] == []  # no answer yet
    costly.close()  # the client leaves
    until(lambda: decoders(server.process.pid) == [])
    assert predict(server, WIDE).status_code == 200


def test_the_server_says_what_is_too_costly_and_what_lacks_memory(server):
    refused = predict(server, wide(8000))
    assert (refused.status_code, refused.json()["code"]) == (413, "EC1408")
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        running = pool.submit(predict, server, endless())
        until(lambda: works(server.process.pid))
        decoders(server.process.pid)[0].kill()
        lacking = running.result(30)
    assert (lacking.status_code, lacking.json()["code"]) == (503, "EC1614")
    assert "retry-after" in lacking.headers
    assert "damaged" not in lacking.json()["detail"]


FILLED = SMALL[:-2] + b"\xff" * 3_000_000 + SMALL[-2:]
COMMENTED = SMALL[:2] + b"\xff\xfe\0\2" * 1_000_000 + SMALL[2:]
FILLED_HEADER = SMALL[:2] + b"\xff" * 3_000_000 + SMALL[2:]


@pytest.mark.parametrize(
    ("photo", "status"), [(FILLED, 200), (COMMENTED, 400), (FILLED_HEADER, 400)],
    ids=["fill bytes", "comments", "fill bytes in the header"],
)  # fmt: skip
def test_endless_headers_are_answered(server, photo: bytes, status: int):
    answer = predict(server, gzip.compress(photo), {"content-encoding": "gzip"})
    assert answer.status_code == status, answer.text


@pytest.mark.full
def test_the_process_dies_with_its_server(launch, project: Path):
    server = launch(project)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        running = pool.submit(predict, server, endless())
        until(lambda: works(server.process.pid))
        (decoder,) = decoders(server.process.pid)
        server.process.send_signal(signal.SIGKILL)
        with pytest.raises(httpx.HTTPError):
            running.result(30)
    until(lambda: not decoder.is_running() or decoder.status() == psutil.STATUS_ZOMBIE)


def test_a_picture_is_drawn_by_the_process_where_that_is_costly(sample_server):
    photo = wide(3300)
    with sample_server.client(timeout=60) as client:
        answer = client.post("/v1/predict?annotate=1", content=photo)
    assert answer.status_code == 200
    assert Image.open(io.BytesIO(answer.content)).size == (1920, 1920)
