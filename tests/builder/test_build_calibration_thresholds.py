"""From histograms to ranges."""

import numpy as np
import pytest

from enginecrate.builder.quantization.calibration.collectors import Counts, Extremes
from enginecrate.builder.quantization.calibration.thresholds import entropy_range, percentile_range
from enginecrate.graph.quantize.ranges import Range

RNG = np.random.default_rng(11)
LEVELS = 128


def collected(array: np.ndarray, bins: int, *, magnitude: bool) -> tuple[np.ndarray, Range]:
    seen = Range(float(array.min()), float(array.max()))
    counts = Counts({"t": seen}, bins, magnitude=magnitude)
    for part in np.array_split(array, 7):
        counts.add(counts.look([part]))
    return counts.histograms()["t"], seen


def divergence(counts: np.ndarray, stop: int) -> float:
    """Migacz's pseudocode, but outliers join the last bin that is filled."""
    inside = counts[:stop]
    if not inside.any():
        return np.inf
    p = inside.astype(float)
    p[np.flatnonzero(inside)[-1]] += counts[stop:].sum()
    q = np.zeros(stop)
    for level in range(LEVELS):
        first, last = -(-level * stop // LEVELS), -(-(level + 1) * stop // LEVELS)
        filled = inside[first:last] > 0
        if filled.any():
            q[first:last][filled] = inside[first:last].sum() / filled.sum()
    kept = p > 0
    p, q = p[kept] / p.sum(), q[kept] / q.sum()
    return float((p * np.log(p / q)).sum())


@pytest.mark.parametrize(
    "values",
    [
        RNG.standard_normal(50_000),
        RNG.laplace(size=50_000),
        np.maximum(RNG.standard_normal(50_000), 0),
        np.concatenate([RNG.standard_normal(20_000), [40.0, -55.0]]),
        RNG.standard_normal(60),
    ],
    ids=["normal", "laplace", "relu", "outliers", "few"],
)
def test_entropy_finds_the_least_divergence(values: np.ndarray):
    counts, seen = collected(values.astype(np.float32), 512, magnitude=True)
    expected = counts.copy()
    expected[0] = expected[1]
    divergences = [divergence(expected, stop) for stop in range(LEVELS, 513)]
    best = LEVELS + int(np.argmin(divergences))
    largest = max(abs(seen.low), abs(seen.high))
    threshold = (best + 0.5) * largest / 512 if best < 512 else largest
    found = entropy_range(counts, seen)
    assert found.high == pytest.approx(min(seen.high, threshold), rel=1e-9)
    assert found.low == pytest.approx(max(seen.low, -threshold), rel=1e-9)


def test_entropy_cuts_off_outliers_and_keeps_an_even_distribution():
    even = RNG.uniform(-3, 3, 100_000).astype(np.float32)
    found = entropy_range(*collected(even, 2048, magnitude=True))
    assert found.high > 2.9
    lonely = np.append(RNG.standard_normal(100_000), 500).astype(np.float32)
    assert entropy_range(*collected(lonely, 2048, magnitude=True)).high < 100


@pytest.mark.parametrize("share", [90.5, 99.0, 99.9, 99.99])
def test_percentiles_are_those_of_the_values(share: float):
    values = RNG.gamma(2, 2, 200_000).astype(np.float32)
    counts, seen = collected(values, 8192, magnitude=False)
    found = percentile_range(counts, seen, share)
    cut = int(len(values) * (100 - share) / 200)
    width = (seen.high - seen.low) / 8192
    assert np.mean((values >= found.low) & (values <= found.high)) >= share / 100
    assert (values > found.high).sum() <= cut <= (values > found.high - 1.01 * width).sum()
    assert (values < found.low).sum() <= cut <= (values < found.low + 1.01 * width).sum()


def test_all_of_the_values_are_the_whole_range():
    counts, seen = collected(RNG.standard_normal(1000).astype(np.float32), 64, magnitude=False)
    assert percentile_range(counts, seen, 100) == seen


@pytest.mark.parametrize("constant", [0.0, 5.0, -2.5])
def test_a_constant_keeps_its_range(constant: float):
    values = np.full(1000, constant, np.float32)
    for magnitude in (True, False):
        counts, seen = collected(values, 2048, magnitude=magnitude)
        assert counts.sum() == 1000
        found = entropy_range(counts, seen) if magnitude else percentile_range(counts, seen, 99.0)
        assert found.low <= constant <= found.high


def test_every_value_is_counted_once_whatever_the_parts():
    values = RNG.standard_normal(10_007).astype(np.float32)
    one, seen = collected(values, 2048, magnitude=True)
    two = Counts({"t": seen}, 2048, magnitude=True)
    two.add(two.look([values.reshape(1, -1)[:, ::-1]]))
    assert one.sum() == 10_007
    np.testing.assert_array_equal(one, two.histograms()["t"])


def test_tensors_without_elements_and_those_with_nan():
    extremes = Extremes(["empty", "nan", "plain"])
    nan = np.array([1, np.nan, 3], np.float32)
    extremes.add(extremes.look([np.zeros((0, 4), np.float32), nan, np.float32([[2, -1]])]))
    found = extremes.ranges()
    assert found["empty"] == Range(0.0, 0.0)
    assert np.isnan(found["nan"].low)
    assert found["plain"] == Range(-1.0, 2.0)
