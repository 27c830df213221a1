"""From a photo to its prediction: workers that clients share, gates, and the event loop's mail."""

import asyncio
import threading
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace

import httpx
import numpy as np
import pytest
from tiny_projects import npz, scale_model, write_project

from enginecrate.engines.fake import FakeEngine
from enginecrate.errors import QueueFull
from enginecrate.pipelines.base import Limits, Prepared
from enginecrate.server.decoding.decoding import Decoding
from enginecrate.server.http.workers import Workers
from enginecrate.server.memory.budget import MemoryBudget
from enginecrate.server.model.photo_costs import PhotoCosts
from enginecrate.server.model.prediction import Predictor
from enginecrate.server.scheduling.client import Client
from enginecrate.server.scheduling.outcome import outcome
from enginecrate.server.scheduling.scheduler import BatchScheduler
from enginecrate.server.statistics.model_statistics import ModelStatistics
from enginecrate.values import DataType, TensorSpec

ALICE, BOB = Client("192.0.2.1", 1), Client("192.0.2.2", 2)


@pytest.fixture
def held():
    """One worker, and an event that lets it go on with what waits."""
    made = Workers(1, max_pending=100, queue_seconds=1.0)
    started, going = threading.Event(), threading.Event()

    def hold() -> None:
        started.set()
        going.wait(10)

    made.post(hold)
    assert started.wait(5)
    yield made, going
    going.set()
    made.close()


def test_workers_serve_clients_in_turn(held):
    workers, going = held
    order: list[str] = []
    for number in range(20):
        workers.post(lambda n=number: order.append(f"alice {n}"), client=ALICE)
    workers.post(lambda: order.append("bob"), client=BOB)
    done = workers.submit(lambda: None)
    going.set()
    done.result(5)
    assert order.index("bob") <= 1
    workers.submit(lambda: None).result(5)
    while len(order) < 21:
        workers.submit(lambda: None).result(5)
    assert [name for name in order if name != "bob"] == [f"alice {n}" for n in range(20)]


def test_workers_are_bounded_by_the_time_of_what_waits_and_by_client(held):
    workers, _ = held
    workers.post(lambda: None, client=ALICE, cost=0.5)
    assert workers.estimated_wait_seconds == pytest.approx(0.5)
    with pytest.raises(QueueFull, match="queue_seconds"):
        workers.post(lambda: None, client=ALICE, cost=0.6)
    with pytest.raises(QueueFull, match="queue_seconds"):
        workers.post(lambda: None, client=BOB, cost=0.6)
    workers.post(lambda: None, client=ALICE, cost=0.49)
    workers.post(lambda: None, client=BOB, cost=0.49)  # takes turns with the other one


def test_what_waits_counts_as_it_costs_now_and_leaves_room_for_another_client():
    workers = Workers(1, max_pending=100, queue_seconds=2.0)
    for _ in range(10):
        workers.post(lambda: None, client=ALICE, cost=0.01, gate=lambda: False)
    workers.check(ALICE, 0.01)
    with pytest.raises(QueueFull, match="queue_seconds"):  # they take longer than was thought
        workers.check(ALICE, 0.19)
    workers.check(BOB, 0.19)
    with pytest.raises(QueueFull, match="queue_seconds"):
        workers.check(BOB, 0.19, ahead=1.8)
    workers.close()


def test_a_task_waits_in_front_of_a_gate_and_others_pass_it():
    workers = Workers(2, max_pending=10)
    gate = threading.Event()
    order: list[str] = []
    done = threading.Event()

    def photo() -> None:
        order.append("photo")
        done.set()

    workers.post(photo, gate=gate.is_set)
    assert workers.submit(lambda: order.append("other")).result(5) is None
    assert order == ["other"]
    assert workers.waiting == 1
    gate.set()
    assert done.wait(5)
    assert order == ["other", "photo"]
    workers.close()


def test_a_task_that_is_withdrawn_is_not_run_and_leaves_at_once():
    workers = Workers(1, max_pending=10)
    ran: list[str] = []
    withdraw = workers.post(lambda: ran.append("unwanted"), gate=lambda: False)
    assert workers.waiting == 1
    assert withdraw()
    assert workers.waiting == 0
    assert not withdraw()
    workers.close()
    assert ran == []


def test_one_wake_up_brings_the_outcomes_of_many():
    """Values and errors reach their own coroutines, whoever settles them and when."""
    futures: list[Future[int]] = [Future() for _ in range(300)]
    woken = 0

    async def main() -> list[object]:
        nonlocal woken
        loop = asyncio.get_running_loop()
        call = loop.call_soon_threadsafe

        def counted(*arguments, **options):
            nonlocal woken
            woken += 1
            return call(*arguments, **options)

        loop.call_soon_threadsafe = counted  # type: ignore[method-assign]
        waiting = [asyncio.create_task(outcome(future)) for future in futures]
        await asyncio.sleep(0)
        settled = threading.Thread(target=settle)
        settled.start()
        settled.join()  # the loop cannot look meanwhile
        return await asyncio.gather(*waiting, return_exceptions=True)

    def settle() -> None:
        for number, future in enumerate(futures):
            if number % 7:
                future.set_result(number)
            else:
                future.set_exception(KeyError(number))

    found = asyncio.run(main())
    assert woken == 1
    assert [each.args[0] if isinstance(each, KeyError) else each for each in found] == [*range(300)]
    assert isinstance(found[0], KeyError)


def test_outcomes_under_many_threads_are_never_missed():
    workers = Workers(8, max_pending=10_000)

    async def client(number: int) -> list[int]:
        return [
            await outcome(workers.submit(lambda n=n: n * 2)) for n in range(number, number + 50)
        ]

    async def main() -> list[list[int]]:
        return await asyncio.wait_for(asyncio.gather(*[client(n) for n in range(40)]), 60)

    assert asyncio.run(main()) == [[n * 2 for n in range(k, k + 50)] for k in range(40)]
    workers.close()


def test_a_coroutine_that_is_cancelled_cancels_its_future():
    future: Future[int] = Future()

    async def main() -> None:
        task = asyncio.create_task(outcome(future))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert future.cancelled()


def test_the_cost_of_a_photo_is_what_takes_the_longest():
    costs = PhotoCosts()
    assert 0 < costs.seconds(2, 1) < 1
    for _ in range(20):
        costs.decoded(8_000_000)
        costs.computed(25_000_000)
    assert costs.seconds(2, 1) == pytest.approx(0.025)
    assert costs.seconds(1, 10) == pytest.approx(0.008)
    for _ in range(20):
        costs.begin(others_wait=False)
    assert costs.seconds(2, 1) == pytest.approx(0.025)


def photos(values: list[float]) -> dict:
    """A request with one image for each value."""
    kind = "application/octet-stream"
    payloads = [npz(x=np.full((1, 4), value, np.float32)) for value in values]
    return {"files": [("image", (f"{n}.npz", one, kind)) for n, one in enumerate(payloads)]}


def test_a_request_of_many_images_is_answered_in_order_though_the_queue_is_short(
    launch, tmp_path: Path
):
    """More images than may wait: those that are under way make room for the next ones."""
    project = write_project(tmp_path / "many", scale_model())
    server = launch(project, decode_threads=1, max_pending=4)
    with server.client() as client:
        answer = client.post("/v1/predict", **photos([float(n) for n in range(40)]))
    assert answer.status_code == 200
    data = [result["outputs"][0]["data"][0] for result in answer.json()["results"]]
    assert data == [2.0 * n for n in range(40)]


def test_a_client_with_many_images_leaves_a_place_for_another(launch, gated):
    """Images of one request wait at the gate; another client is not refused."""
    project, gate = gated
    server = launch(project, decode_threads=1, max_pending=8)
    answers: list[httpx.Response] = []

    def send(values: list[float]) -> None:
        answers.append(httpx.post(f"{server.url}/v1/predict", timeout=60, **photos(values)))

    many = threading.Thread(target=send, args=([1.0] * 30,))
    many.start()
    gate.wait_for_request()
    one = threading.Thread(target=send, args=([1.0],))
    one.start()
    gate.open()
    for thread in (one, many):
        thread.join(30)
    assert [answer.status_code for answer in answers] == [200, 200]


class DoublingPipeline:
    """A payload is a number; its result is what the engine makes of it."""

    def prepare(self, payload: bytes) -> Prepared:
        return Prepared({"x": np.full((1, 4), float(payload), np.float32)}, None)

    def finish(self, outputs, context) -> float:
        return float(outputs["y"][0, 0])


def test_a_prediction_keeps_the_times_of_its_run_and_lets_its_outputs_go():
    """A request may wait for many more photos, and raw outputs are larger than photos."""
    x, y = (TensorSpec(name, DataType.FP32, (-1, 4)) for name in "xy")
    engine = FakeEngine([x], [y], compute=lambda inputs: {"y": inputs["x"] * 2})
    scheduler = BatchScheduler([engine], max_pending=8)
    loaded = SimpleNamespace(
        pipeline=DoublingPipeline(), scheduler=scheduler, instances=1, limits=Limits(),
        signature=SimpleNamespace(max_batch=8),
    )  # fmt: skip
    workers = Workers(1, max_pending=8)
    decoding = Decoding(workers, MemoryBudget(), max_pending=8, seconds=5.0)
    predictor = Predictor(decoding, ModelStatistics())
    serving = SimpleNamespace(loaded=loaded, scheduler=scheduler)
    try:
        predictor.admit(serving, ALICE)
        prediction = predictor.start(serving, b"21", ALICE, None)
        found = prediction.future.result(10)
    finally:
        workers.close()
        decoding.close()
        scheduler.close()
    assert found.result == 42.0
    assert found.execution.batch == 1
    assert found.execution.compute_ns > 0
    assert found.execution.outputs == {}
