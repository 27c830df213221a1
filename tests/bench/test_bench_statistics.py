import random

import pytest

from enginecrate.bench.histogram import RELATIVE_ERROR, Histogram
from enginecrate.bench.statistics import summarize


def counted(milliseconds: list[float]) -> Histogram:
    found = Histogram()
    found.add([round(value * 1e6) for value in milliseconds])
    return found


def test_a_summary_does_not_depend_on_the_order():
    values = [float(number) for number in range(1, 201)]
    found = summarize(counted(random.Random(3).sample(values, len(values))))
    assert found == summarize(counted(values))
    assert (found.minimum, found.mean, found.maximum) == (1.0, 100.5, 200.0)
    assert found.p50 == pytest.approx(100.0, rel=RELATIVE_ERROR)
    assert found.p99 == pytest.approx(198.0, rel=RELATIVE_ERROR)


def test_nothing_has_no_summary():
    assert summarize(Histogram()) is None
