"""The queue and dynamic batching, with a real fake engine and no HTTP."""

import threading
import time
from concurrent.futures import CancelledError, wait

import numpy as np
import pytest

from enginecrate.engines.fake import FakeEngine
from enginecrate.errors import (
    EngineRunFailed,
    ModelNotReady,
    QueueFull,
    RequestTimeout,
    TensorMismatch,
)
from enginecrate.server.scheduling.batch import Job, merge, split
from enginecrate.server.scheduling.counters import CountedEngine, CountedScheduler
from enginecrate.server.scheduling.scheduler import BatchScheduler
from enginecrate.server.statistics.model_statistics import ModelStatistics
from enginecrate.values import DataType, TensorSpec

X = TensorSpec("x", DataType.FP32, (-1, -1))
Y = TensorSpec("y", DataType.FP32, (-1, -1))


def sample(value: float = 1.0, *, batch: int = 1, width: int = 2) -> dict[str, np.ndarray]:
    return {"x": np.full((batch, width), value, np.float32)}


def double(inputs):
    return {"y": inputs["x"] * 2}


class Gate:
    """An engine that runs only when the test lets it."""

    def __init__(self, **options) -> None:
        self.event = threading.Event()
        options.setdefault("compute", double)
        self.engine = FakeEngine([X], [Y], blocked=self.event, **options)

    def open(self) -> None:
        self.event.set()


@pytest.fixture
def started():
    """Makes schedulers and closes them."""
    made = []

    def make(engines, **options) -> BatchScheduler:
        options.setdefault("max_pending", 16)
        scheduler = BatchScheduler(engines, **options)
        made.append((scheduler, engines))
        return scheduler

    yield make
    for scheduler, engines in made:
        for engine in engines:
            if isinstance(engine, FakeEngine) and engine._blocked is not None:
                engine._blocked.set()
        assert scheduler.close(10)


def busy(scheduler: BatchScheduler, gate: Gate):
    """Occupy the only engine with a first request."""
    first = scheduler.submit(sample(0.0))
    assert gate.engine.wait_until_running()
    return first


def test_a_request_to_an_idle_engine_runs_alone_and_at_once(started):
    engine = FakeEngine([X], [Y], compute=double)
    scheduler = started([engine], max_queue_delay_seconds=60.0)
    execution = scheduler.submit(sample(3.0)).result(5)
    assert execution.outputs["y"].tolist() == [[6.0, 6.0]]
    assert execution.batch == 1
    assert engine.batches == [1]


def test_requests_that_gather_while_the_engine_is_busy_share_a_batch(started):
    gate = Gate()
    scheduler = started([gate.engine])
    first = busy(scheduler, gate)
    rest = [scheduler.submit(sample(float(value))) for value in range(1, 6)]
    assert scheduler.depth == 5
    gate.open()
    assert first.result(5).batch == 1
    assert [one.result(5).batch for one in rest] == [5] * 5
    assert [one.result().outputs["y"][0, 0] for one in rest] == [2.0, 4.0, 6.0, 8.0, 10.0]
    assert gate.engine.batches == [1, 5]


def test_a_batch_is_never_larger_than_allowed(started):
    gate = Gate(max_batch=8)
    scheduler = started([gate.engine], max_batch=3)
    busy(scheduler, gate)
    rest = [scheduler.submit(sample(float(value))) for value in range(7)]
    gate.open()
    wait(rest, 5)
    assert gate.engine.batches == [1, 3, 3, 1]


def test_the_engines_own_limit_beats_a_larger_setting(started):
    scheduler = started([FakeEngine([X], [Y], max_batch=4)], max_batch=100)
    assert scheduler.max_batch == 4


def test_requests_of_several_samples_are_merged_while_they_fit(started):
    gate = Gate(max_batch=4)
    scheduler = started([gate.engine])
    busy(scheduler, gate)
    three, two, one = (scheduler.submit(sample(float(n), batch=n)) for n in (3, 2, 1))
    gate.open()
    assert (three.result(5).batch, one.result(5).batch, two.result(5).batch) == (4, 4, 2)
    assert [future.result().outputs["y"].shape[0] for future in (three, two, one)] == [3, 2, 1]
    assert one.result().outputs["y"].tolist() == [[2.0, 2.0]]


def test_other_shapes_do_not_share_a_batch_and_keep_their_order(started):
    gate = Gate()
    scheduler = started([gate.engine])
    busy(scheduler, gate)
    narrow = [scheduler.submit(sample(1.0)) for _ in range(2)]
    wide = [scheduler.submit(sample(1.0, width=5)) for _ in range(2)]
    narrow += [scheduler.submit(sample(1.0))]
    gate.open()
    wait(narrow + wide, 5)
    assert gate.engine.batches == [1, 3, 2]
    assert wide[0].result().outputs["y"].shape == (1, 5)


def test_without_a_batch_dimension_every_request_runs_alone(started):
    gate = Gate(max_batch=0)
    scheduler = started([gate.engine])
    futures = [busy(scheduler, gate)] + [scheduler.submit(sample()) for _ in range(3)]
    gate.open()
    wait(futures, 5)
    assert len(gate.engine.batches) == 4
    assert {future.result().batch for future in futures} == {1}


def test_two_engines_run_at_once(started):
    event = threading.Event()
    engines = [FakeEngine([X], [Y], compute=double, blocked=event) for _ in range(2)]
    scheduler = started(engines)
    futures = [scheduler.submit(sample()) for _ in range(2)]
    assert all(engine.wait_until_running() for engine in engines)
    event.set()
    wait(futures, 5)
    assert [engine.batches for engine in engines] == [[1], [1]]


def test_a_busy_server_waits_for_a_fuller_batch(started):
    """Another engine is busy, so the idle one may wait: the batch is full before the delay ends."""
    blocked = Gate(max_batch=2)
    free = FakeEngine([X], [Y], compute=double, max_batch=2)
    scheduler = started([blocked.engine, free], max_queue_delay_seconds=60.0)
    futures = []
    while not blocked.engine.wait_until_running(timeout=0.01):  # which one takes it is chance
        futures.append(scheduler.submit(sample()))
    done = len(free.batches)
    pair = [scheduler.submit(sample(float(n))) for n in (1, 2)]
    assert [one.result(5).batch for one in pair] == [2, 2]
    assert free.batches[done:] == [2]
    blocked.open()


def test_the_delay_ends_even_if_the_batch_is_not_full(started):
    blocked = Gate(max_batch=8)
    free = FakeEngine([X], [Y], compute=double, max_batch=8)
    scheduler = started([blocked.engine, free], max_queue_delay_seconds=0.02)
    while not blocked.engine.wait_until_running(timeout=0.05):
        scheduler.submit(sample())
    assert scheduler.submit(sample()).result(5).queue_ns >= 15_000_000
    blocked.open()


def test_a_full_queue_refuses(started):
    gate = Gate()
    scheduler = started([gate.engine], max_pending=2)
    busy(scheduler, gate)
    waiting = [scheduler.submit(sample()) for _ in range(2)]
    with pytest.raises(QueueFull, match="max_pending"):
        scheduler.submit(sample())
    gate.open()
    wait(waiting, 5)
    assert scheduler.submit(sample()).result(5)


def test_a_cancelled_request_is_not_run_and_frees_its_place(started):
    gate = Gate()
    scheduler = started([gate.engine], max_pending=1)
    busy(scheduler, gate)
    unwanted = scheduler.submit(sample(7.0))
    assert unwanted.cancel()
    wanted = scheduler.submit(sample(8.0))
    gate.open()
    assert wanted.result(5).outputs["y"][0, 0] == 16.0
    assert gate.engine.batches == [1, 1]


def test_a_request_is_not_begun_after_its_deadline(started):
    gate = Gate()
    scheduler = started([gate.engine])
    busy(scheduler, gate)
    late = scheduler.submit(sample(), deadline=time.monotonic() - 1)
    timely = scheduler.submit(sample(), deadline=time.monotonic() + 60)
    gate.open()
    with pytest.raises(RequestTimeout):
        late.result(5)
    assert timely.result(5).batch == 1
    assert gate.engine.batches == [1, 1]


def test_one_bad_request_does_not_spoil_its_batch(started):
    """A batch that fails is run again, one by one: only the culprit fails."""

    def refuse_nines(inputs):
        if (inputs["x"] == 9).any():
            raise EngineRunFailed("a nine")
        return double(inputs)

    gate = Gate(compute=refuse_nines)
    scheduler = started([gate.engine])
    busy(scheduler, gate)
    futures = [scheduler.submit(sample(float(value))) for value in (1, 9, 2)]
    gate.open()
    wait(futures, 5)
    assert isinstance(futures[1].exception(), EngineRunFailed)
    assert [futures[n].result().outputs["y"][0, 0] for n in (0, 2)] == [2.0, 4.0]
    assert gate.engine.batches == [1, 3, 1, 1, 1]


def test_a_request_that_fails_alone_is_not_repeated(started):
    engine = FakeEngine([X], [Y], compute=double)
    engine.fail_next(RuntimeError("out of luck"))
    scheduler = started([engine])
    with pytest.raises(EngineRunFailed, match="RuntimeError: out of luck"):
        scheduler.submit(sample()).result(5)
    assert engine.batches == [1]
    assert scheduler.submit(sample()).result(5).batch == 1


def test_the_engines_own_errors_are_passed_on(started):
    scheduler = started([FakeEngine([X], [Y])])
    with pytest.raises(TensorMismatch):
        scheduler.submit({"x": np.zeros((1, 2), np.int32)}).result(5)


def test_outputs_that_cannot_be_parted_are_computed_one_by_one(started):
    """The engine promises a batch dimension, but one output has none."""
    gate = Gate(compute=lambda inputs: {"y": np.ones((1, 1), np.float32)})
    scheduler = started([gate.engine])
    busy(scheduler, gate)
    futures = [scheduler.submit(sample()) for _ in range(2)]
    gate.open()
    assert [one.result(5).batch for one in futures] == [1, 1]


def test_closing_fails_what_waits_and_lets_run_what_runs():
    gate = Gate()
    scheduler = BatchScheduler([gate.engine], max_pending=8)
    running = busy(scheduler, gate)
    waiting = scheduler.submit(sample())
    closer = threading.Thread(target=scheduler.close)
    closer.start()
    with pytest.raises(ModelNotReady):
        waiting.result(5)
    gate.open()
    closer.join(5)
    assert running.result(5).batch == 1
    assert gate.engine.closed
    with pytest.raises(ModelNotReady):
        scheduler.submit(sample())


def test_closing_says_when_an_engine_does_not_end():
    gate = Gate()
    scheduler = BatchScheduler([gate.engine], max_pending=8)
    busy(scheduler, gate)
    assert not scheduler.close(timeout=0)
    gate.open()
    assert scheduler.close(timeout=5)


def test_many_threads_get_their_own_answers(started):
    scheduler = started([FakeEngine([X], [Y], compute=double) for _ in range(2)], max_pending=1000)
    wrong = []

    def client(start: int) -> None:
        for value in range(start, start + 50):
            outputs = scheduler.submit(sample(float(value))).result(10).outputs
            if outputs["y"].tolist() != [[2.0 * value] * 2]:
                wrong.append(value)

    threads = [threading.Thread(target=client, args=(n * 1000,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not wrong


def test_merge_and_split_are_inverse():
    jobs = [Job(sample(float(n), batch=n), n, None, None) for n in (1, 3, 2)]
    merged = merge(jobs)
    assert merged["x"].shape == (6, 2)
    parts = split({"y": merged["x"]}, [1, 3, 2])
    assert [part["y"].tolist() for part in parts] == [job.inputs["x"].tolist() for job in jobs]
    with pytest.raises(ValueError, match="output 'y'"):
        split({"y": merged["x"][:5]}, [1, 3, 2])


def test_counting_by_wrapping(started):
    statistics = ModelStatistics()
    gate = Gate()
    engine = CountedEngine(gate.engine, statistics)
    engine.counting = True
    scheduler = started([engine], max_pending=3)
    counted = CountedScheduler(scheduler, statistics, batched=True)
    first = counted.submit(sample())
    assert gate.engine.wait_until_running()
    pair = [counted.submit(sample(batch=2)), counted.submit(sample())]
    unwanted = counted.submit(sample())
    with pytest.raises(QueueFull):
        counted.submit(sample())
    unwanted.cancel()
    with pytest.raises(CancelledError):
        unwanted.result()
    gate.open()
    wait([first, *pair], 5)
    gate.engine.fail_next(EngineRunFailed("broken"))
    with pytest.raises(EngineRunFailed):
        counted.submit(sample()).result(5)
    totals = statistics.view.totals()
    assert (totals.success.count, totals.inferences, totals.executions) == (3, 4, 2)
    assert totals.failures == {"REJECTED": 1, "CANCELED": 1, "BACKEND": 1, "OTHER": 0}
    assert sorted(totals.batches) == [1, 3]
    assert totals.durations["queue"].count == 3
    assert sum(totals.durations["request"].buckets) == 3
