import pytest

from enginecrate.builder.accuracy.figures import mean_figure, ratio_figure, share_figure


# From the score interval's formula, computed with statsmodels' proportion_confint(method="wilson").
@pytest.mark.parametrize(
    ("hits", "n", "low", "high"),
    [(93, 100, 0.8625, 0.9657), (10, 10, 0.7225, 1.0), (0, 10, 0.0, 0.2775), (1, 1, 0.2065, 1.0)],
)
def test_wilson(hits: int, n: int, low: float, high: float):
    figure = share_figure("top-1 agreement", hits, n)
    assert figure.value == pytest.approx(hits / n)
    assert (figure.low, figure.high) == pytest.approx((low, high), abs=1e-4)
    assert figure.method == "wilson"


def test_nothing_to_measure_has_no_value():
    figure = share_figure("top-1 agreement", 0, 0)
    assert (figure.value, figure.n, figure.low) == (None, 0, None)
    assert ratio_figure("matched boxes", [], [], "boxes").value is None
    assert ratio_figure("matched boxes", [0, 0], [0, 0], "boxes").value is None


def test_boxes_count_but_photos_are_drawn():
    """One photo with many lost boxes makes the interval wide: its boxes are lost together."""
    clustered = ratio_figure("matched boxes", [20] * 9 + [0], [20] * 10, "boxes")
    spread = ratio_figure("matched boxes", [18] * 10, [20] * 10, "boxes")
    assert clustered.value == spread.value == 0.9
    assert clustered.n == spread.n == 200
    assert clustered.high is not None
    assert clustered.low is not None
    assert clustered.high - clustered.low > 0.2
    assert spread.low == spread.high == 0.9


def test_the_bootstrap_is_the_same_each_time():
    values = [0.1, 0.5, 0.7, 0.2, 0.9]
    first = mean_figure("cosine", values)
    assert first == mean_figure("cosine", values)
    assert first.low is not None
    assert first.value is not None
    assert first.high is not None
    assert first.low < first.value < first.high


def test_figures_read_well():
    text = str(share_figure("top-1 agreement", 93, 100))
    assert text == "top-1 agreement 0.930 (n = 100 photos, 95 % interval 0.863 to 0.966)"
