"""The best classes of an output, as text: v2 extension "classification"."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from enginecrate.errors import RequestInvalid
from enginecrate.values import Array

__all__ = ["top_classes"]


def top_classes(array: Array, count: int, labels: Sequence[str], *, batched: bool) -> Array:
    """The highest values of each sample, best first.

    Args:
        array: an output; each sample's values are taken as one flat list of classes.
        count: how many; fewer when there are fewer classes.
        labels: class names; left out when their number is not that of the classes.
        batched: whether the first dimension is a batch.

    Returns:
        BYTES [batch, count], or [count] without a batch: `value:index` or `value:index:label`.

    Raises:
        RequestInvalid: the output holds text.
    """
    if array.dtype == object:
        raise RequestInvalid("classification needs an output of numbers, not BYTES")
    rows = array.reshape(array.shape[0] if batched else 1, -1)
    named = len(labels) == rows.shape[1]
    best = np.argsort(-rows.astype(np.float64), axis=1, kind="stable")[:, :count]
    found = np.empty(best.shape, dtype=object)
    for row, column in np.ndindex(*best.shape):
        index = int(best[row, column])
        text = f"{float(rows[row, index]):f}:{index}"
        found[row, column] = (f"{text}:{labels[index]}" if named else text).encode()
    return found if batched else found[0]
