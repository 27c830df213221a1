"""Requests through a channel and arenas: each is answered once, by its own outputs."""

import asyncio
import os
import random
import socket
import struct
import threading
import time
from concurrent.futures import wait

import msgspec
import numpy as np
import pytest

from enginecrate.engines.fake import FakeEngine
from enginecrate.errors import EngineRunFailed, ModelNotReady, QueueFull, RequestTimeout
from enginecrate.server.memory.leases import LeasePool
from enginecrate.server.processes.channel import channel_pair
from enginecrate.server.processes.engine_link import ChannelScheduler, EngineLink, PlanSignature
from enginecrate.server.processes.front_end_link import FrontEndLink, ServedPlan
from enginecrate.server.processes.messages import (
    ArenaAdded,
    Place,
    State,
    Submit,
    TensorPlace,
)
from enginecrate.server.scheduling.scheduler import BatchScheduler
from enginecrate.values import DataType, TensorSpec

FLOATS = TensorSpec("x", DataType.FP32, (-1, 1000))
TEXTS = TensorSpec("t", DataType.BYTES, (-1, 1))
OPEN = TensorSpec("n", DataType.INT64, (-1, -1))
LIMIT = 256 << 20


class Pair:
    """A front end's link and an engine process's, in one loop of a thread of its own."""

    def __init__(self, engine: FakeEngine, **scheduler) -> None:
        self.pool = LeasePool(LIMIT, shared=True)
        self.scheduler = BatchScheduler([engine], max_pending=10_000, **scheduler)
        self.plans = {
            7: ServedPlan(engine.inputs, engine.outputs, engine.max_batch, self.scheduler)
        }
        self.signature = PlanSignature(7, engine.inputs, engine.outputs, engine.max_batch)
        self.gone: list[str] = []
        self.retired: list[int] = []
        self.states: list[State] = []
        near, far = channel_pair()
        self.near = EngineLink(
            near, self.pool, self.states.append, lambda: self.gone.append("engine")
        )
        self.far = FrontEndLink(
            3, far, self.plans, lambda _, plan: self.retired.append(plan),
            lambda _: self.gone.append("front end"),
        )  # fmt: skip
        self.remote = ChannelScheduler(self.near, self.signature, queue_seconds=2.0)
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()
        self.call(self.near.start)
        self.call(self.far.start)

    def call(self, function, *args) -> None:
        async def run() -> None:
            function(*args)

        asyncio.run_coroutine_threadsafe(run(), self.loop).result(10)

    def until(self, condition) -> None:
        end = time.monotonic() + 20
        while not condition():
            if time.monotonic() > end:
                pytest.fail("it did not come so far")
            time.sleep(0.005)

    def close(self) -> None:
        self.call(self.near.close)
        self.call(self.far.close)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()
        self.scheduler.close()
        self.pool.close()


@pytest.fixture
def pairs():
    made = []

    def make(engine: FakeEngine, **scheduler) -> Pair:
        made.append(Pair(engine, **scheduler))
        return made[-1]

    yield make
    for pair in made:
        pair.close()


def doubled(inputs):
    return {"y": inputs["x"] * 2}


def doubler(**options) -> FakeEngine:
    output = TensorSpec("y", DataType.FP32, (-1, 1000))
    return FakeEngine([FLOATS], [output], compute=doubled, **options)


def row(value: float, samples: int = 1) -> np.ndarray:
    return np.full((samples, 1000), value, np.float32)


def test_a_request_comes_back_with_its_outputs(pairs):
    pair = pairs(doubler())
    execution = pair.remote.submit({"x": row(3)}).result(10)
    assert np.array_equal(execution.outputs["y"], row(6))
    assert execution.batch == 1
    assert execution.compute_ns > 0
    assert pair.pool.counts() == {"filling": 0, "submitted": 0, "answered": 1}
    execution.lease.release()
    assert pair.pool.leased_bytes == 0


def test_inputs_in_an_arena_are_not_copied(pairs):
    engine = doubler()
    pair = pairs(engine)
    lease = pair.pool.lease(4000)
    array = np.frombuffer(lease.view, np.float32).reshape(1, 1000)
    array[:] = 5
    execution = pair.remote.submit({"x": array}, lease=lease).result(10)
    assert np.array_equal(execution.outputs["y"], row(10))
    array[:] = 8  # the engine has seen this very memory
    assert np.array_equal(engine.calls[0]["x"], row(8))
    execution.lease.release()
    lease.release()
    assert pair.pool.leased_bytes == 0


def test_many_requests_from_many_threads_are_not_mixed_up(pairs):
    pair = pairs(doubler(delay_seconds=0.001))
    wrong = []

    def work(first: int) -> None:
        chance = random.Random(first)
        for value in range(first, first + 150):
            samples = chance.choice([1, 1, 2, 5])
            execution = pair.remote.submit({"x": row(value, samples)}).result(20)
            if not np.array_equal(execution.outputs["y"], row(2 * value, samples)):
                wrong.append(value)
            execution.lease.release()

    threads = [threading.Thread(target=work, args=[n * 1000]) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert pair.near.pending == 0
    assert pair.far.running == 0
    assert not any(pair.pool.counts().values())


def test_texts_travel_both_ways(pairs):
    output = TensorSpec("u", DataType.BYTES, (-1, 1))
    engine = FakeEngine(
        [TEXTS], [output],
        compute=lambda inputs: {
            "u": np.array([[each[0] + b"!\0" * 1000] for each in inputs["t"]], object)
        },
    )  # fmt: skip
    pair = pairs(engine)
    for text in (b"", b"\0\xff", b"long" * 30_000, b"a"):
        array = np.empty((1, 1), object)
        array[0, 0] = text
        execution = pair.remote.submit({"t": array}).result(10)
        assert execution.outputs["u"][0, 0] == text + b"!\0" * 1000
        execution.lease.release()
    assert not any(pair.pool.counts().values())


def test_outputs_of_any_size_find_room(pairs):
    engine = FakeEngine(
        [FLOATS], [OPEN],
        compute=lambda inputs: {"n": np.arange(int(inputs["x"][0, 0]), dtype=np.int64)[None]},
    )  # fmt: skip
    pair = pairs(engine, max_batch=1)
    for size in (0, 3, 500_000, 10, 2_000_000, 2_000_000):
        execution = pair.remote.submit({"x": row(size)}).result(10)
        assert np.array_equal(execution.outputs["n"], np.arange(size)[None])
        if execution.lease is not None:
            execution.lease.release()
    assert not any(pair.pool.counts().values())


def test_outputs_that_find_no_room_are_refused(pairs):
    engine = FakeEngine(
        [FLOATS], [OPEN], compute=lambda inputs: {"n": np.zeros((1, 40_000_000), np.int64)}
    )
    pair = pairs(engine)
    with pytest.raises(QueueFull, match="no memory is left") as refused:
        pair.remote.submit({"x": row(1)}).result(20)
    assert refused.value.reason == "memory"
    assert not any(pair.pool.counts().values())


def test_errors_keep_their_class_and_their_words(pairs):
    engine = doubler()
    pair = pairs(engine)
    engine.fail_next(EngineRunFailed("it broke"))
    with pytest.raises(EngineRunFailed, match="it broke"):
        pair.remote.submit({"x": row(1)}).result(10)
    with pytest.raises(RequestTimeout, match="time was over"):
        pair.remote.submit({"x": row(1)}, time.monotonic() - 1).result(10)
    engine.fail_next(QueueFull("too much of it", reason="share"))
    with pytest.raises(QueueFull, match="too much of it") as refused:
        pair.remote.submit({"x": row(1)}).result(10)
    assert refused.value.reason == "share"
    assert not any(pair.pool.counts().values())


def test_a_cancelled_request_keeps_its_memory_until_the_engine_has_answered(pairs):
    blocked = threading.Event()
    engine = doubler(blocked=blocked, max_batch=1)
    pair = pairs(engine)
    first = pair.remote.submit({"x": row(1)})
    assert engine.wait_until_running()
    waiting = pair.remote.submit({"x": row(2)})
    pair.until(lambda: pair.far.running == 2)
    assert waiting.cancel()
    assert first.cancel()
    pair.until(lambda: pair.near.pending == 1)  # what waited was answered; what runs was not
    assert pair.pool.counts()["submitted"] == 1
    blocked.set()
    pair.until(lambda: pair.near.pending == 0)
    assert not any(pair.pool.counts().values())
    assert engine.batches == [1]


def test_an_engine_that_ends_fails_everything_at_once_and_its_memory_is_not_used_again(pairs):
    blocked = threading.Event()
    engine = doubler(blocked=blocked)
    pair = pairs(engine)
    futures = [pair.remote.submit({"x": row(n)}) for n in range(20)]
    assert engine.wait_until_running()
    old = pair.pool.lease(10).arena
    pair.call(pair.far.close)
    done, left = wait(futures, 10)
    assert not left
    for future in done:
        assert isinstance(future.exception(), ModelNotReady)
    pair.until(lambda: pair.gone == ["engine"])
    assert pair.pool.lease(10).arena is not old
    with pytest.raises(ModelNotReady, match="started again"):
        pair.remote.submit({"x": row(1)})
    blocked.set()


def test_a_front_end_that_ends_takes_its_requests_out_of_the_queue(pairs):
    blocked = threading.Event()
    engine = doubler(blocked=blocked, max_batch=1)
    pair = pairs(engine)
    for n in range(20):
        pair.remote.submit({"x": row(n)})
    assert engine.wait_until_running()
    pair.until(lambda: pair.scheduler.depth == 19)
    pair.call(pair.near.close)
    pair.until(lambda: pair.gone == ["front end"])
    assert pair.scheduler.depth == 0
    blocked.set()


def test_a_plan_that_was_replaced_is_named_no_more(pairs):
    pair = pairs(doubler())
    del pair.plans[7]
    with pytest.raises(ModelNotReady, match="replaced"):
        pair.remote.submit({"x": row(1)}).result(10)
    pair.remote.close()
    pair.until(lambda: pair.retired == [7])


def test_states_arrive_and_a_long_queue_is_refused(pairs):
    pair = pairs(doubler())
    pair.far.send_state(State(b"content", 2.5, 0.0))
    pair.until(lambda: bool(pair.states))
    assert pair.states[0].content == b"content"
    with pytest.raises(QueueFull, match=r"takes 2\.5 s"):
        pair.remote.admit(1)


ARENA = 1 << 23
GOOD = TensorPlace(1, 0, 4000, (1, 1000))


@pytest.mark.parametrize(
    "submit",
    [
        Submit(1, 7, [], None, 0, "", 0),
        Submit(1, 7, [TensorPlace(2, 0, 4000, (1, 1000))], None, 0, "", 0),
        Submit(1, 7, [TensorPlace(1, ARENA - 3999, 4000, (1, 1000))], None, 0, "", 0),
        Submit(1, 7, [TensorPlace(1, -8, 4000, (1, 1000))], None, 0, "", 0),
        Submit(1, 7, [TensorPlace(1, 0, -4000, (1, 1000))], None, 0, "", 0),
        Submit(1, 7, [TensorPlace(1, 0, 4000, (-1, -1000))], None, 0, "", 0),
        Submit(1, 7, [TensorPlace(1, 0, 4000, (2, 1000))], None, 0, "", 0),
        Submit(1, 7, [TensorPlace(1, 0, 4000, (2**40, 2**40))], None, 0, "", 0),
        Submit(1, 7, [GOOD], Place(1, 2**62, 10), 0, "", 0),
        Submit(1, 7, [GOOD], Place(9, 0, 10), 0, "", 0),
    ],
)
def test_a_front_end_that_lies_about_memory_is_given_up(submit: Submit):
    async def scenario() -> None:
        engine = doubler()
        scheduler = BatchScheduler([engine], max_pending=10)
        gone = []
        raw, end = channel_pair()
        plans = {7: ServedPlan(engine.inputs, engine.outputs, engine.max_batch, scheduler)}
        far = FrontEndLink(0, end, plans, lambda *_: None, gone.append)
        far.start()
        lease = LeasePool(LIMIT, shared=True).lease(65536)

        for message, fds in ((ArenaAdded(1, lease.arena.size), [lease.arena.fd]), (submit, [])):
            body = msgspec.msgpack.encode(message)
            socket.send_fds(raw, [struct.pack("<I", len(body)) + body], fds)
        async with asyncio.timeout(10):
            while not gone:
                await asyncio.sleep(0.005)
        assert gone == [far]
        assert engine.batches == []
        far.close()
        raw.close()
        scheduler.close()

    asyncio.run(scenario())


def test_a_descriptor_that_is_no_sealed_memory_ends_the_front_end():
    async def scenario() -> None:
        gone = []
        raw, end = channel_pair()
        far = FrontEndLink(0, end, {}, lambda *_: None, gone.append)
        far.start()
        fd = os.memfd_create("test")
        os.ftruncate(fd, 4096)

        body = msgspec.msgpack.encode(ArenaAdded(1, 4096))
        socket.send_fds(raw, [struct.pack("<I", len(body)) + body], [fd])
        async with asyncio.timeout(10):
            while not gone:
                await asyncio.sleep(0.005)
        os.close(fd)
        raw.close()

    asyncio.run(scenario())


def test_an_arena_is_announced_before_any_thread_names_it(pairs):
    pair = pairs(doubler())
    send, announced = pair.near._channel.send, threading.Event()

    def send_slowly(message, descriptors=()):
        if isinstance(message, ArenaAdded):
            announced.wait(0.2)  # others get as far as they can meanwhile
        return send(message, descriptors)

    pair.near._channel.send = send_slowly
    answers = {}

    def work(value: int) -> None:
        execution = pair.remote.submit({"x": row(value)}).result(20)
        answers[value] = float(execution.outputs["y"][0, 0])
        execution.lease.release()

    threads = [threading.Thread(target=work, args=[value]) for value in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == {value: 2.0 * value for value in range(4)}
    assert pair.gone == []


@pytest.mark.parametrize(
    "shape", [(), (1 << 62, 0), (1,) * 70], ids=["no batch", "too large", "too many sizes"]
)
def test_a_shape_that_no_front_end_of_ours_sends_ends_that_front_end_alone(pairs, shape):
    pair, honest = pairs(doubler()), pairs(doubler())
    lease = pair.pool.lease(8192)
    size = 0 if 0 in shape else 4
    place = TensorPlace(lease.arena.number, lease.offset, size, shape)
    room = Place(lease.arena.number, lease.offset + 4096, 4096)
    pair.near._channel.send(ArenaAdded(lease.arena.number, lease.arena.size), [lease.arena.fd])
    pair.near._channel.send(Submit(1, 7, [place], room, 0.0, "a", 1))
    pair.until(lambda: len(pair.gone) == 2)
    lease.release()
    execution = honest.remote.submit({"x": row(3)}).result(10)
    execution.lease.release()
    assert honest.gone == []
