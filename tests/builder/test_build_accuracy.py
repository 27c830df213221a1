import math

import numpy as np
import pytest

from enginecrate.builder.accuracy.comparison import SampleAccuracy, compare_outputs, summarize


def compare(reference: list, found: list) -> tuple:
    (one,) = compare_outputs(
        {"y": np.array(reference, np.float32)}, {"y": np.array(found, np.float32)}
    )
    return one.max_abs, one.relative_l2, one.cosine


def test_distances():
    assert compare([3, 4], [3, 4]) == (0, 0, 1)
    assert compare([3, 4], [3, 3]) == (1, 0.2, pytest.approx(21 / (5 * math.sqrt(18)), abs=1e-4))
    assert compare([1, 0], [0, 1]) == (1, pytest.approx(math.sqrt(2), abs=1e-3), 0)
    assert compare([0, 0], [0, 1]) == (1, None, 0)
    assert compare([], []) == (0, 0, 1)


def test_what_is_not_finite():
    nan, inf = float("nan"), float("inf")
    assert compare([nan, inf, 1], [nan, inf, 1]) == (0, 0, 1)
    assert compare([1, 2], [1, nan])[0] is None
    assert compare([1, 2], [1, inf])[0] is None
    assert compare([nan, inf, 1.0], [nan, inf, 1.5])[0] == 0.5


def test_whole_numbers_do_not_overflow():
    (one,) = compare_outputs(
        {"y": np.array([0, 255], np.uint8)}, {"y": np.array([255, 255], np.uint8)}
    )
    assert one.max_abs == 255


def test_texts_are_equal_or_not():
    text = np.array([b"a", b"b"], object)
    same, other = (
        compare_outputs({"y": text}, {"y": array})[0]
        for array in (text.copy(), np.array([b"a", b"c"], object))
    )
    assert (same.max_abs, same.cosine) == (0, 1)
    assert (other.max_abs, other.cosine) == (None, None)


def sample(agrees: bool | None) -> SampleAccuracy:
    return SampleAccuracy("x", agrees, (), ())


def test_agreement_is_the_share_of_results_that_match():
    accuracy = summarize([sample(True), sample(True), sample(False), sample(True)], 0.75)
    assert accuracy.agreement == 0.75
    assert accuracy.sufficient
    assert not summarize([sample(True), sample(False)], 0.75).sufficient
    unknown = summarize([sample(None)], 0.75)
    assert unknown.agreement is None
    assert unknown.sufficient
