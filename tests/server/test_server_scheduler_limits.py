"""The scheduler at its limits, and runs in the caller's thread: a real fake engine and no HTTP."""

import contextlib
import gc
import threading
import time
import weakref
from concurrent.futures import CancelledError, wait

import numpy as np
import pytest

from enginecrate.engines.fake import FakeEngine
from enginecrate.errors import (
    DeviceLost,
    EngineOutOfMemory,
    EngineRunFailed,
    ModelNotReady,
    QueueFull,
    RequestTimeout,
)
from enginecrate.server.scheduling.batch import Job, batch_key
from enginecrate.server.scheduling.client import Client
from enginecrate.server.scheduling.costs import RunCosts
from enginecrate.server.scheduling.quick_runs import QuickRuns
from enginecrate.server.scheduling.scheduler import BatchScheduler
from enginecrate.server.scheduling.work_queue import WorkQueue
from enginecrate.values import DataType, TensorSpec

X = TensorSpec("x", DataType.FP32, (-1, -1))
Y = TensorSpec("y", DataType.FP32, (-1, -1))
_FEW = 5
ALICE, BOB = Client("192.0.2.1", 1), Client("192.0.2.2", 2)


def sample(value: float = 1.0, *, batch: int = 1) -> dict[str, np.ndarray]:
    return {"x": np.full((batch, 2), value, np.float32)}


def double(inputs):
    return {"y": inputs["x"] * 2}


class Gate(FakeEngine):
    """An engine that runs only when the test lets it."""

    def __init__(self, compute=double, **options) -> None:
        self.opened = threading.Event()
        super().__init__([X], [Y], compute=compute, blocked=self.opened, **options)


@pytest.fixture
def started():
    """Makes schedulers with one gate each, whose first request occupies it; and closes them."""
    made = []

    def make(gate: FakeEngine, **options) -> BatchScheduler:
        options.setdefault("max_pending", 64)
        scheduler = BatchScheduler([gate], **options)
        made.append((scheduler, gate))
        return scheduler

    yield make
    for scheduler, gate in made:
        if isinstance(gate, Gate):
            gate.opened.set()
        assert scheduler.close(10)


def busy(scheduler: BatchScheduler, gate: Gate):
    """Occupy the engine with a first request."""
    first = scheduler.submit(sample(0.0))
    assert gate.wait_until_running()
    return first


def fill(scheduler: BatchScheduler, most: int, client: Client | None) -> list:
    """Send requests until one is refused, or all are taken."""
    waiting = []
    with contextlib.suppress(QueueFull):
        for _ in range(most):
            waiting.append(scheduler.submit(sample(), client=client))
    return waiting


class CountedLease:
    def __init__(self) -> None:
        self.held = 0

    def retain(self) -> "CountedLease":
        self.held += 1
        return self

    def release(self) -> None:
        self.held -= 1
        assert self.held >= 0


# -- shares ---------------------------------------------------------------------------------------


def test_a_batch_takes_from_the_clients_in_turn_and_keeps_the_order_of_each(started):
    gate = Gate(max_batch=4)
    scheduler = started(gate)
    busy(scheduler, gate)
    many = [scheduler.submit(sample(float(n)), client=ALICE) for n in range(6)]
    one = scheduler.submit(sample(100.0), client=BOB)
    gate.opened.set()
    wait([*many, one], 5)
    values = [call["x"][:, 0].tolist() for call in gate.calls[1:]]
    assert values == [[0.0, 100.0, 1.0, 2.0], [3.0, 4.0, 5.0]]


def test_one_client_leaves_room_in_the_queue_for_another(started):
    gate = Gate()
    scheduler = started(gate, max_pending=40)
    busy(scheduler, gate)
    assert 20 <= len(fill(scheduler, 40, ALICE)) < 40
    with pytest.raises(QueueFull, match="share"):
        scheduler.admit(1, ALICE)
    scheduler.admit(1, BOB)
    assert scheduler.submit(sample(), client=BOB)


# -- time -----------------------------------------------------------------------------------------


def test_what_waits_is_bounded_by_the_time_that_it_takes(started):
    """Runs of 50 ms, one at a time: 0.41 s hold eight of them, whatever `max_pending` says."""
    gate = Gate(max_batch=1)
    scheduler = started(gate, max_pending=1000, queue_seconds=0.41)
    for _ in range(9):
        scheduler._work.costs.observe(1, 0.05)
    busy(scheduler, gate)
    waiting = fill(scheduler, 30, ALICE)
    assert len(waiting) == 8
    assert 0.39 < scheduler.estimated_wait_seconds < 0.46
    scheduler.admit(1, BOB)
    turns = fill(scheduler, 30, BOB)
    assert len(turns) == 4
    waiting += turns
    with pytest.raises(QueueFull, match="queue_seconds"):
        scheduler.admit(1, ALICE)
    gate.opened.set()
    wait(waiting, 10)
    scheduler.submit(sample()).result(5)
    assert scheduler.estimated_wait_seconds == 0.0
    scheduler.admit(1, ALICE)


def test_late_requests_take_no_room_in_a_batch(started):
    gate = Gate(max_batch=3)
    scheduler = started(gate)
    busy(scheduler, gate)
    past = time.monotonic() - 1
    late = [scheduler.submit(sample(), deadline=past) for _ in range(3)]
    rest = [scheduler.submit(sample(float(n))) for n in range(3)]
    gate.opened.set()
    wait([*late, *rest], 5)
    assert all(isinstance(each.exception(), RequestTimeout) for each in late)
    assert gate.batches[0] == 1
    assert sum(gate.batches) == 4


def test_a_cancelled_request_leaves_the_queue_at_once(started):
    gate = Gate()
    scheduler = started(gate)
    busy(scheduler, gate)
    futures = [scheduler.submit(sample(), client=ALICE) for _ in range(5)]
    kept = weakref.ref(unwanted := {"x": np.ones((1, 2), np.float32)}["x"])
    gone = scheduler.submit({"x": unwanted}, client=ALICE)
    del unwanted
    assert scheduler.depth == 6
    assert gone.cancel()
    assert gone.cancel()
    assert scheduler.depth == 5
    done, _ = wait([gone], 1)
    assert done
    with pytest.raises(CancelledError):
        gone.result()
    gate.opened.set()
    wait(futures, 5)
    del gone
    gc.collect()
    assert kept() is None


def test_finished_requests_leave_no_circle_that_keeps_tensors(started):
    scheduler = started(FakeEngine([X], [Y], compute=double))
    gc.disable()
    try:
        given = sample()
        kept = weakref.ref(given["x"])
        scheduler._engine.calls = type("Nothing", (), {"append": lambda *_: None})()
        scheduler.submit(given).result(5)
        scheduler.submit(sample()).result(5)  # the thread has let go of the first one by now
        del given
        assert kept() is None
    finally:
        gc.enable()


# -- leases ---------------------------------------------------------------------------------------


def test_a_lease_is_held_until_the_engine_does_not_read_any_more(started):
    gate = Gate()
    scheduler = started(gate)
    lease = CountedLease()
    running = scheduler.submit(sample(), lease=lease)
    assert gate.wait_until_running()
    waiting = scheduler.submit(sample(), lease=lease)
    assert lease.held == 2
    waiting.cancel()
    assert lease.held == 1
    assert not running.cancel()
    gate.opened.set()
    running.result(5)
    assert lease.held == 0


def test_a_lease_is_let_go_however_a_request_ends():
    gate = Gate(max_batch=1)
    scheduler = BatchScheduler([gate], max_pending=2)
    lease = CountedLease()
    gate.fail_next(EngineRunFailed("broken"))
    failing = scheduler.submit(sample(), lease=lease)
    assert gate.wait_until_running()
    late = scheduler.submit(sample(), deadline=time.monotonic() - 1, lease=lease)
    scheduler.submit(sample(), lease=lease)
    with pytest.raises(QueueFull):
        scheduler.submit(sample(), lease=lease)
    assert lease.held == 3
    gate.opened.set()
    with pytest.raises(EngineRunFailed):
        failing.result(5)
    with pytest.raises(RequestTimeout):
        late.result(5)
    gate.opened.clear()
    busy(scheduler, gate)
    left = scheduler.submit(sample(), lease=lease)
    closer = threading.Thread(target=scheduler.close)
    closer.start()
    with pytest.raises(ModelNotReady):
        left.result(5)
    gate.opened.set()
    closer.join(5)
    assert lease.held == 0


# -- memory, and a lost device --------------------------------------------------------------------


def test_a_batch_that_does_not_fit_into_memory_runs_in_halves_and_later_ones_are_smaller(
    started, caplog
):
    def two_fit(inputs):
        if inputs["x"].shape[0] > 2:
            raise EngineOutOfMemory("the GPU is out of memory")
        return double(inputs)

    gate = Gate(two_fit, max_batch=8)
    scheduler = started(gate)
    busy(scheduler, gate)
    futures = [scheduler.submit(sample(float(n))) for n in range(8)]
    gate.opened.set()
    wait(futures, 5)
    assert [each.result().outputs["y"][0, 0] for each in futures] == [2.0 * n for n in range(8)]
    assert gate.batches == [1, 8, 4, 2, 2, 4, 2, 2]
    gate.opened.clear()
    busy(scheduler, gate)
    more = [scheduler.submit(sample(float(n))) for n in range(5)]
    gate.opened.set()
    wait(more, 5)
    assert gate.batches[9:] == [2, 2, 1]
    assert scheduler.max_batch == 8
    told = [record for record in caplog.records if "memory" in record.message]
    assert len(told) == 1


def test_memory_that_does_not_suffice_for_one_request_fails_that_one_only(started):
    def no_nines(inputs):
        if (inputs["x"] == 9).any():
            raise MemoryError
        return double(inputs)

    gate = Gate(no_nines)
    scheduler = started(gate)
    busy(scheduler, gate)
    futures = [scheduler.submit(sample(float(n))) for n in (1, 9, 2)]
    gate.opened.set()
    wait(futures, 5)
    assert isinstance(futures[1].exception(), EngineOutOfMemory)
    assert [futures[n].result().outputs["y"][0, 0] for n in (0, 2)] == [2.0, 4.0]


def test_a_lost_device_ends_everything_at_once():
    gate = Gate()
    scheduler = BatchScheduler([gate], max_pending=8)
    told = []
    scheduler.on_device_lost = told.append
    gate.fail_next(DeviceLost("illegal address"), DeviceLost("illegal address"))
    running = busy(scheduler, gate)
    waiting = [scheduler.submit(sample()) for _ in range(3)]
    gate.opened.set()
    for each in (running, *waiting):
        with pytest.raises(ModelNotReady, match="lost"):
            each.result(5)
    with pytest.raises(ModelNotReady, match="lost"):
        scheduler.submit(sample())
    with pytest.raises(ModelNotReady, match="lost"):
        scheduler.admit(1)
    assert scheduler.close(5)
    assert [str(error) for error in told] == ["illegal address"]
    assert gate.batches == [1]


# -- runs in the caller's thread ------------------------------------------------------------------


def proven(started, compute=double, **options) -> tuple[BatchScheduler, FakeEngine]:
    """A scheduler whose engine has shown in its own thread that it is quick."""
    engine = FakeEngine([X], [Y], compute=compute, **options)
    scheduler = started(engine)
    for _ in range(200):
        scheduler.submit(sample()).result(5)
        if scheduler._work.quick.most:
            return scheduler, engine
    raise AssertionError("no run of the fake engine took less than 200 us")


def test_a_quick_engine_runs_in_the_thread_of_its_caller(started):
    threads = []

    def compute(inputs):
        threads.append(threading.current_thread())
        return double(inputs)

    scheduler, _ = proven(started, compute)
    threads.clear()
    execution = scheduler.run_here(sample(3.0))
    assert execution is not None
    assert execution.outputs["y"].tolist() == [[6.0, 6.0]]
    assert (execution.batch, execution.queue_ns) == (1, 0)
    assert threads == [threading.current_thread()]


def test_nothing_runs_here_before_the_engine_has_shown_that_it_is_quick(started):
    assert started(FakeEngine([X], [Y])).run_here(sample()) is None
    slow = started(FakeEngine([X], [Y], delay_seconds=0.002))
    for _ in range(3):
        slow.submit(sample()).result(5)
    assert slow.run_here(sample()) is None


def test_nothing_runs_here_on_an_engine_that_is_not_thread_safe(started):
    class OneThread(FakeEngine):
        thread_safe = False

    engine = OneThread([X], [Y])
    scheduler = started(engine)
    scheduler._work.quick.most = 1
    assert scheduler.run_here(sample()) is None


def test_nothing_runs_here_while_another_request_runs_or_the_batch_is_larger(started):
    gate = Gate()
    scheduler = started(gate)
    scheduler._work.quick.most = 2
    assert scheduler.run_here(sample(batch=3)) is None
    first = busy(scheduler, gate)
    assert scheduler.run_here(sample()) is None
    waiting = scheduler.submit(sample())
    assert scheduler.run_here(sample()) is None
    gate.opened.set()
    wait([first, waiting], 5)


def test_a_run_that_takes_too_long_here_takes_the_choice_back_and_it_is_tried_again(started):
    scheduler, engine = proven(started)
    engine._delay = 0.002
    assert scheduler.run_here(sample()) is not None
    assert scheduler.run_here(sample()) is None
    engine._delay = 0.0
    for _ in range(500):
        scheduler.submit(sample()).result(5)
        if scheduler.run_here(sample()) is not None:
            break
        time.sleep(0.001)
    else:
        pytest.fail("it was never tried again")


def waiting_queue(count: int, delay: float = 0.0) -> tuple[WorkQueue, list[Job]]:
    """A queue whose engines are all asleep, and jobs that wait in it."""
    queue = WorkQueue(
        1, max_pending=99, max_batch=8, queue_seconds=9.0, max_queue_delay_seconds=delay,
        on_device_lost=lambda error: None,
    )  # fmt: skip
    queue.quick.most = 3
    jobs = [Job(sample(), 1, batch_key(sample()), None) for _ in range(count)]
    for job in jobs:
        queue.push(job)
    return queue, jobs


def test_what_waits_is_run_before_a_request_that_runs_here():
    queue, jobs = waiting_queue(3)
    assert queue.begin_here()
    assert queue.take_here() == jobs
    assert queue.take_here() == []
    queue.end_here(1000)


@pytest.mark.parametrize(("count", "delay"), [(4, 0.0), (1, 0.5)], ids=["many", "delay"])
def test_nothing_runs_here_while_more_waits_than_is_quick_or_for_a_fuller_batch(count, delay):
    queue, jobs = waiting_queue(count, delay)
    assert not queue.begin_here()
    assert len(queue) == len(jobs)


def test_a_lone_request_runs_here_also_where_a_busy_server_waits_for_fuller_batches():
    queue, _ = waiting_queue(0, 0.5)
    assert queue.begin_here()
    assert queue.take_here() == []


def test_errors_of_runs_here_are_those_of_the_engine(started):
    scheduler, engine = proven(started)
    engine.fail_next(RuntimeError("out of luck"))
    with pytest.raises(EngineRunFailed, match="RuntimeError: out of luck"):
        scheduler.run_here(sample())


def test_a_lost_device_is_told_from_a_run_here_too(started):
    scheduler, engine = proven(started)
    told = []
    scheduler.on_device_lost = told.append
    engine.fail_next(DeviceLost("gone"))
    with pytest.raises(ModelNotReady, match="lost"):
        scheduler.run_here(sample())
    assert [str(error) for error in told] == ["gone"]
    assert scheduler.run_here(sample()) is None


def test_one_slow_run_in_a_hundred_is_not_quick():
    quick = QuickRuns()
    quick.observe_elsewhere(4, 100_000)
    assert quick.most == 4
    for _ in range(1000):  # one in 200: within the 99th percentile
        quick.observe(50_000 if _ % 200 else 300_000)
    assert quick.most == 4
    for _ in range(200):
        quick.observe(50_000 if _ % 40 else 300_000)
    assert quick.most == 0


def test_a_pause_grows_while_the_choice_does_not_last():
    quick = QuickRuns()
    pauses = []
    for _ in range(20):
        quick._paused_until = 0.0
        quick.observe_elsewhere(1, 1000)
        quick.observe(10_000_000)
        pauses.append(quick._pause)
    assert pauses == sorted(pauses)
    assert pauses[-1] == 30.0
    quick._paused_until = 0.0
    quick.observe_elsewhere(1, 1000)
    for _ in range(2000):
        quick.observe(1000)
    quick.observe(10_000_000)
    assert quick._pause < 0.1


# -- costs ----------------------------------------------------------------------------------------


def test_costs_are_learnt_by_size_and_outliers_do_no_harm():
    costs = RunCosts()
    assert 0 < costs.seconds(1) < 0.1
    for number in range(40):
        for size in (1, 2, 4, 8):
            costs.observe(size, 5.0 if number % 10 == 3 else 0.002 + 0.001 * size)
    assert costs.seconds(1) == pytest.approx(0.003)
    assert costs.seconds(3) == pytest.approx(0.005)
    assert costs.seconds(32) == pytest.approx(0.034)
    assert costs.share(1, 32) == pytest.approx(0.034 / 32)
    assert costs.share(8, 1) == pytest.approx(0.010)
    for _ in range(9):
        costs.observe(1, 0.5)
    assert costs.seconds(1) == pytest.approx(0.5)


def test_costs_are_never_negative():
    costs = RunCosts()
    for _ in range(40):
        costs.observe(1, 0.010)
        costs.observe(8, 0.002)
    assert 0 <= costs.seconds(32) <= 1
    one = RunCosts()
    one.observe(4, 0.008)
    assert one.seconds(8) == pytest.approx(0.016)


def test_batches_grow_only_while_that_gains_something():
    def learn(seconds, rounds: int = 30) -> int:
        """The largest batch, after runs that were as large as they might be."""
        costs = RunCosts()
        for _ in range(_FEW):
            costs.observe(1, seconds(1))
        for _ in range(rounds):
            size = costs.efficient(32)
            costs.observe(size, seconds(size))
        return costs.efficient(32)

    assert RunCosts().efficient(32) == 32
    assert learn(lambda size: 0.025 * size) == 1
    assert learn(lambda size: 0.050 + 0.0001 * size) == 32
    assert learn(lambda size: 0.050 + 0.0001 * size if size < 9 else 0.020 * size) == 8
    assert learn(lambda size: 0.0002 * size) == 32
    assert learn(lambda size: 0.004 * size) == 4


def test_a_size_that_was_not_worth_it_is_tried_again_later():
    costs = RunCosts()
    sizes = set()
    for number in range(1200):
        size = costs.efficient(8) if number > _FEW else 1
        sizes.add(size) if number > 600 else None
        costs.observe(size, 0.025 * size if number < 600 else 0.025 + 0.0001 * size)
    assert max(sizes) == 8
    assert costs.efficient(8) == 8
