"""From single photos to figures."""

from __future__ import annotations

from collections.abc import Sequence

from enginecrate.builder.accuracy.comparison import Comparison
from enginecrate.builder.accuracy.figures import Figure, mean_figure, ratio_figure, share_figure

__all__ = ["agreement_figure", "other_figures"]


def agreement_figure(task: str, compared: Sequence[Comparison]) -> Figure:
    """What the gate looks at.

    Detection: the share of the reference's boxes that were found again (same class, IoU >= 0.5).
    Classification: the share of photos with the same best class. Tensors: the share of samples
    within the golden tolerance, or with a cosine of at least 0.99 on every output.
    """
    if task == "detection":
        return ratio_figure(
            "matched boxes",
            [one.hits for one in compared],
            [one.wanted for one in compared],
            "boxes",
        )
    name = "top-1 agreement" if task == "classification" else "samples that agree"
    return share_figure(name, sum(one.hits for one in compared), len(compared))


def other_figures(task: str, compared: Sequence[Comparison]) -> tuple[Figure, ...]:
    """Further metrics of the task, and the distances of each output tensor."""
    figures: list[Figure] = []
    if task == "classification":
        hits = sum(one.top5 for one in compared)
        figures.append(share_figure("top-5 agreement", hits, len(compared)))
    if task == "detection":
        hits_of = [one.hits for one in compared]
        figures += [
            ratio_figure("precision", hits_of, [one.found for one in compared], "boxes"),
            ratio_figure("mean IoU", [one.overlap for one in compared], hits_of, "boxes"),
        ]
    return (*figures, *_distances(compared))


def _distances(compared: Sequence[Comparison]) -> list[Figure]:
    names = dict.fromkeys(one.name for photo in compared for one in photo.distances)
    figures = []
    for name in names:
        mine = [one for photo in compared for one in photo.distances if one.name == name]
        for label, values in (
            ("relative L2", [one.relative_l2 for one in mine]),
            ("cosine", [one.cosine for one in mine]),
            ("largest difference", [one.max_abs for one in mine]),
        ):
            known = [value for value in values if value is not None]
            figures.append(mean_figure(f"{label} of {name}", known))
    return figures
