"""Connected regions against a flood fill that visits one pixel after the other."""

import numpy as np
import pytest

from enginecrate.pipelines.regions import Region, find_regions


def flood_fill(mask: np.ndarray, scores: np.ndarray, connectivity: int) -> list[Region]:
    steps = [(0, 1), (1, 0), (0, -1), (-1, 0)]
    steps += [(1, 1), (1, -1), (-1, 1), (-1, -1)] if connectivity == 8 else []
    seen = np.zeros(mask.shape, bool)
    regions = []
    for start in zip(*np.nonzero(mask), strict=True):
        if seen[start]:
            continue
        seen[start] = True
        stack, pixels = [start], []
        while stack:
            y, x = stack.pop()
            pixels.append((int(y), int(x)))
            for dy, dx in steps:
                at = (y + dy, x + dx)
                inside = 0 <= at[0] < mask.shape[0] and 0 <= at[1] < mask.shape[1]
                if inside and mask[at] and not seen[at]:
                    seen[at] = True
                    stack.append(at)
        ys, xs = zip(*pixels, strict=True)
        mean = float(np.mean([scores[pixel] for pixel in pixels]))
        box = (min(xs), min(ys), max(xs) + 1, max(ys) + 1)
        regions.append(Region(box, len(pixels), pytest.approx(mean, abs=1e-6)))
    return regions


@pytest.mark.parametrize("connectivity", [4, 8])
@pytest.mark.parametrize("density", [0.0, 0.1, 0.4, 0.5, 0.6, 0.9, 1.0])
@pytest.mark.parametrize("shape", [(37, 41), (1, 60), (60, 1)])
def test_random_masks(connectivity, density, shape):
    rng = np.random.default_rng(int(density * 10))
    scores = rng.random(shape).astype(np.float32)
    mask = rng.random(shape) < density
    expected = flood_fill(mask, scores, connectivity)
    assert find_regions(mask, scores, connectivity=connectivity) == expected


def test_a_spiral_is_one_region():
    mask = np.zeros((41, 41), bool)
    y, x, dy, dx = 20, 20, 0, 1
    for length in range(2, 40, 2):
        for _ in range(2):
            for _ in range(length):
                mask[y, x] = True
                y, x = y + dy, x + dx
            dy, dx = dx, -dy
    assert len(find_regions(mask, connectivity=4)) == 1
    assert find_regions(mask)[0].pixels == mask.sum()


def test_small_regions_are_left_out_and_shapes_are_checked():
    mask = np.zeros((8, 8), bool)
    mask[1:3, 1:4] = mask[6, 6] = True
    assert find_regions(mask, min_pixels=2) == [Region((1, 1, 4, 3), 6, 1.0)]
    assert find_regions(np.zeros((0, 5))) == []
    with pytest.raises(ValueError, match="same shape"):
        find_regions(mask, np.zeros((4, 4)))
    with pytest.raises(ValueError, match=r"\(H, W\)"):
        find_regions(mask[None])
