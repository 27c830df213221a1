import math

import pytest
from onnx import helper

from enginecrate.graph.cast.overflow import FP16_LARGEST, overflowing
from enginecrate.graph.quantize.ranges import Range
from graph_tools import wrap
from tiny_models import model, value

NODES = [
    helper.make_node("Relu", ["x"], ["a"], "first"),
    helper.make_node("Neg", ["a"], ["b"], "second"),
    helper.make_node("Relu", ["b"], ["y"], "third"),
]
MODEL = wrap(model(NODES, [value("x", ["n"])], [value("y", ["n"])]))


def test_harmless_ranges_name_nobody():
    ranges = {"x": Range(-100, 100), "a": Range(0, 16_000), "b": Range(0, 0)}
    assert overflowing(MODEL, ranges) == {}


def test_the_writer_and_the_reader_of_a_large_tensor():
    found = overflowing(MODEL, {"a": Range(-3, 70_000)})
    assert list(found) == ["first", "second"]
    assert found["first"] == (
        "its output 'a' reaches 70,000, too near to FP16's largest value 65,504"
    )
    assert found["second"].startswith("its input 'a'")


def test_only_readers_of_a_large_input():
    assert list(overflowing(MODEL, {"x": Range(-1e6, 0)})) == ["first"]


@pytest.mark.parametrize(
    ("margin", "count"), [(1.0, 0), (2.0, 2), (4.0, 2)], ids=["none", "twice", "four times"]
)
def test_the_margin(margin: float, count: int):
    assert len(overflowing(MODEL, {"a": Range(0, 60_000)}, margin=margin)) == count


def test_exactly_the_largest_value_fits_without_margin():
    assert not overflowing(MODEL, {"a": Range(0, FP16_LARGEST)}, margin=1.0)


@pytest.mark.parametrize("bad", [Range(0, math.inf), Range(math.nan, 1), Range(-math.inf, 0)])
def test_what_is_not_finite_never_fits(bad: Range):
    assert list(overflowing(MODEL, {"b": bad})) == ["second", "third"]


def test_tensors_that_are_all_too_small():
    found = overflowing(MODEL, {"b": Range(-2e-6, 5e-6)})
    assert list(found) == ["second", "third"]
    assert "too few digits" in found["second"]
