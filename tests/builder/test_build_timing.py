import numpy as np
import pytest

from enginecrate.builder.proof.timing import time_app, time_calls
from enginecrate.builder.trial.samples import synthetic_inputs
from enginecrate.engines.fake import FakeEngine
from enginecrate.pipelines.base import Prepared, TensorsResult
from enginecrate.values import DataType, TensorSpec

X = TensorSpec("x", DataType.FP32, (-1, 2))
ONE = {"x": np.ones((1, 2), np.float32)}


class Echo:
    task = "tensors"

    def prepare(self, payload: bytes) -> Prepared:
        return Prepared(ONE, None)

    def finish(self, outputs: dict, context: None) -> TensorsResult:
        return TensorsResult([])


def test_every_step_is_timed_at_the_profiles_batches():
    engine = FakeEngine([X], [X], max_batch=6)
    profile = {"x": ((1, 2), (2, 2), (6, 2))}
    timing = time_app(engine, Echo(), [b"a", b"b"], None, [profile])
    assert [(row.step, row.batch) for row in timing.rows] == [
        ("prepare", 1), ("engine", 1), ("engine", 2), ("engine", 6), ("finish", 1), ("predict", 1),
    ]  # fmt: skip
    assert set(engine.batches) == {1, 2, 6}
    for row in timing.rows:
        assert 3 <= row.runs <= 50
        assert 0 <= row.median_ms <= row.p95_ms
    assert timing.notes == ()


def test_usual_batches_up_to_the_largest():
    timing = time_app(FakeEngine([X], [X], max_batch=5), Echo(), [b"a"], None, [])
    assert [row.batch for row in timing.rows if row.step == "engine"] == [1, 4]


def test_without_golden_samples_only_the_engine_is_timed():
    timing = time_app(FakeEngine([X], [X]), Echo(), [], ONE, [])
    assert {row.step for row in timing.rows} == {"engine"}
    assert "made-up tensors" in timing.notes[0]
    nothing = time_app(FakeEngine([X], [X]), Echo(), [], None, [])
    assert nothing.rows == ()
    assert "nothing was timed" in nothing.notes[0]


def test_a_slow_call_is_timed_three_times_and_a_quick_one_fifty():
    calls: list[int] = []
    row = time_calls("step", 4, [lambda: calls.append(1)], budget=0.0)
    assert (row.runs, len(calls)) == (3, 4)
    assert time_calls("step", 4, [lambda: None], budget=60.0).runs == 50
    assert row.per_second > 0


@pytest.mark.parametrize(
    ("spec", "max_batch", "shape"),
    [
        (X, 8, (1, 2)),
        (TensorSpec("x", DataType.FP32, (4, 2)), 0, (4, 2)),
        (TensorSpec("x", DataType.INT64, (-1, 5)), 8, (1, 5)),
        (TensorSpec("x", DataType.BYTES, (-1,)), 8, (1,)),
    ],
)
def test_made_up_inputs(spec: TensorSpec, max_batch: int, shape: tuple):
    made = synthetic_inputs([spec], [], max_batch)
    assert made is not None
    assert made["x"].shape == shape
    assert made["x"].dtype == spec.datatype.numpy


def test_made_up_inputs_are_the_same_each_time():
    one, other = (synthetic_inputs([X], [], 8) for _ in range(2))
    assert one is not None
    assert other is not None
    np.testing.assert_array_equal(one["x"], other["x"])


def test_a_profile_gives_the_sizes_of_dynamic_dimensions():
    spec = TensorSpec("x", DataType.FP32, (-1, -1))
    assert synthetic_inputs([spec], [], 8) is None
    made = synthetic_inputs([spec], [{"x": ((1, 2), (4, 6), (8, 9))}], 8)
    assert made is not None
    assert made["x"].shape == (1, 6)
