import random

from enginecrate.bench.statistics import percentile, summarize


def test_percentiles_are_values_that_were_measured():
    values = [float(number) for number in range(1, 101)]
    assert [percentile(values, share) for share in (50, 90, 95, 99, 100)] == [50, 90, 95, 99, 100]
    assert percentile([7.0], 50) == percentile([7.0], 99) == 7.0
    assert percentile([1.0, 2.0], 50) == 1.0
    assert percentile([1.0, 2.0], 50.1) == 2.0


def test_a_summary_does_not_depend_on_the_order():
    seconds = [number / 1000 for number in range(1, 201)]
    shuffled = random.Random(3).sample(seconds, len(seconds))
    found = summarize(shuffled)
    assert found == summarize(seconds)
    assert (found.minimum, found.p50, found.p99, found.maximum) == (1.0, 100.0, 198.0, 200.0)
    assert found.mean == 100.5


def test_nothing_has_no_summary():
    assert summarize([]) is None
