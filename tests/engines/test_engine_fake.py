import threading

import numpy as np
import pytest

from enginecrate.engines.base import Engine
from enginecrate.engines.fake import FakeEngine
from enginecrate.errors import EngineRunFailed, TensorMismatch
from enginecrate.values import DataType, TensorSpec

X = TensorSpec("x", DataType.FP32, (-1, 2))
Y = TensorSpec("y", DataType.FP32, (-1, 3))
TEXT = TensorSpec("text", DataType.BYTES, (-1,))
ONE = {"x": np.ones((1, 2), np.float32)}


def test_it_is_an_engine_with_outputs_of_the_right_shapes():
    engine: Engine = FakeEngine([X], [Y, TEXT])
    outputs = engine.run({"x": np.ones((4, 2), np.float32)})
    assert outputs["y"].shape == (4, 3)
    assert outputs["text"].tolist() == [b""] * 4


def test_it_records_batches_and_computes():
    engine = FakeEngine([X], [X], compute=lambda tensors: {"x": tensors["x"] * 2}, max_batch=4)
    np.testing.assert_array_equal(engine.run(ONE)["x"], ONE["x"] * 2)
    engine.run({"x": np.ones((3, 2), np.float32)})
    assert engine.batches == [1, 3]
    assert engine.calls[1]["x"].shape == (3, 2)


def test_it_checks_as_every_engine_does():
    engine = FakeEngine([X], [Y], max_batch=4)
    with pytest.raises(TensorMismatch):
        engine.run({"x": np.ones((5, 2), np.float32)})
    assert engine.batches == []


def test_failures_are_injected_one_by_one():
    engine = FakeEngine([X], [Y])
    engine.fail_next(EngineRunFailed("first"), ValueError("second"))
    with pytest.raises(EngineRunFailed, match="first"):
        engine.run(ONE)
    with pytest.raises(ValueError, match="second"):
        engine.run(ONE)
    assert engine.run(ONE)["y"].shape == (1, 3)


def test_it_blocks_until_the_event_is_set():
    gate = threading.Event()
    engine = FakeEngine([X], [Y], blocked=gate)
    threads = [threading.Thread(target=engine.run, args=(ONE,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    assert engine.wait_until_running(2)
    assert not engine.wait_until_running(3, timeout=0)
    gate.set()
    for thread in threads:
        thread.join()
    assert engine.peak == 2


def test_a_closed_engine_does_not_run():
    engine = FakeEngine([X], [Y])
    engine.close()
    engine.close()
    with pytest.raises(EngineRunFailed, match="closed"):
        engine.run(ONE)
