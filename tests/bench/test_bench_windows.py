"""The rule that says when a measurement is stable."""

import pytest

from enginecrate.bench.histogram import Histogram, HistogramPart
from enginecrate.bench.messages import Tick
from enginecrate.bench.windows import Window, Windows, is_stable

MS = 1_000_000


def window(count: int, mean_ms: float) -> Window:
    found = Window(0, 1000 * MS)
    found.latencies.add([round(mean_ms * MS)] * count)
    return found


def tick(begin_ms: int, end_ms: int, count: int) -> Tick:
    part = Histogram()
    part.add([MS] * count)
    empty = HistogramPart(b"", b"", 0, 0, 0)
    return Tick(
        begin_ms * MS, end_ms * MS, part.part(), empty, {}, (), 0, 0, 0, 1, 0, done=False
    )  # fmt: skip


@pytest.mark.parametrize(
    ("windows", "stable"),
    [
        ([(100, 5), (100, 5), (100, 5)], True),
        ([(10, 50), (100, 5), (105, 5.1), (96, 4.9)], True),  # the first is too long ago
        ([(100, 5), (100, 5)], False),
        ([(100, 5), (100, 5), (130, 5)], False),
        ([(100, 5), (100, 5), (100, 7)], False),
        ([(100, 5), (100, 5), (0, 0)], False),
        ([], False),
    ],
)
def test_three_windows_agree(windows: list[tuple[int, float]], stable: bool):
    assert is_stable([window(*row) for row in windows], 0.1) is stable


def test_ticks_of_all_processes_fill_the_windows():
    windows = Windows(1000 * MS, 0.5, 2)
    windows.add(0, tick(800, 1000, 9))  # the warm-up
    for begin in (1000, 1250, 1500, 1750):
        windows.add(0, tick(begin, begin + 250, 10))
    assert windows.whole() == []  # the other process has told nothing
    for begin in (1000, 1251, 1502):
        windows.add(1, tick(begin, begin + 250, 1))
    (first,) = windows.whole()
    assert first.latencies.count == 22
    assert first.throughput == pytest.approx(22 / 0.501)
    assert [one.latencies.count for one in windows.until(2000 * MS)] == [22, 21]
    assert [one.latencies.count for one in windows.until(1600 * MS)] == [22]
