"""The histogram against exact percentiles."""

import math
import random
from fractions import Fraction

import numpy as np
import pytest

from enginecrate.bench.histogram import BITS, RELATIVE_ERROR, Histogram

SHARES = (0, 0.1, 1, 25, 50, 75, 90, 95, 99, 99.9, 99.99, 100)


def exact(ordered: list[int], share: float) -> int:
    """Nearest rank."""
    return ordered[max(1, math.ceil(Fraction(str(share)) / 100 * len(ordered))) - 1]


def distributions() -> dict[str, list[int]]:
    chance = random.Random(12)
    return {
        "one value": [123_456_789],
        "zeros": [0] * 5,
        "small": [chance.randrange(5000) for _ in range(1000)],
        "uniform": [chance.randrange(10**6, 10**9) for _ in range(5000)],
        "exponential": [round(chance.expovariate(1e-7)) for _ in range(5000)],
        "log-normal": [round(chance.lognormvariate(14, 2)) for _ in range(5000)],
        "two modes": [round(chance.gauss(2e6, 1e5)) for _ in range(990)] + [30 * 10**9] * 10,
        "around powers of two": [2**bits + off for bits in range(1, 56) for off in (-1, 0, 1)],
        "the largest": [2**62, 2**61 + 3, 2**53 + 1],
    }


@pytest.mark.parametrize("name", distributions())
def test_percentiles_are_within_the_bound(name: str):
    values = distributions()[name]
    ordered = sorted(values)
    found = Histogram()
    found.add(values)
    for share in SHARES:
        right = exact(ordered, share)
        assert right <= found.percentile(share) <= right * (1 + RELATIVE_ERROR)
    assert found.percentile(100) == found.most_ns == ordered[-1]
    assert (found.count, found.total_ns, found.least_ns) == (len(values), sum(values), ordered[0])


def test_small_values_are_exact():
    found = Histogram()
    found.add(range(2 ** (BITS + 1)))
    assert [found.percentile(share) for share in (25, 50, 100)] == [511, 1023, 2047]


def test_parts_of_several_processes_add_up():
    chance = random.Random(5)
    values = [chance.randrange(1, 10**10) for _ in range(3000)]
    together, merged = Histogram(), Histogram()
    together.add(values)
    for begin in range(0, len(values), 1000):
        part = Histogram()
        part.add(values[begin : begin + 1000])
        merged.merge(part.part())
    merged.merge(Histogram().part())
    assert merged.part() == together.part()
    assert merged.count == together.count


def test_a_duration_below_zero_counts_as_zero():
    found = Histogram()
    found.add(np.array([-5, 7], np.int64))
    assert (found.least_ns, found.percentile(50), found.percentile(100)) == (0, 0, 7)


def test_nothing_has_no_percentile():
    found = Histogram()
    found.add([])
    with pytest.raises(ValueError, match="without values"):
        found.percentile(50)
