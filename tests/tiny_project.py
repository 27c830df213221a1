"""A whole project around a tiny classifier of colours, made while the tests run."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

from enginecrate.settings import Settings, load_settings
from tiny_models import color_classifier, save

MANIFEST = """\
[app]
name = "colors"
version = "1.0.0"
summary = "Says which colour a photo has"

[model]
path = "colors.onnx"

[pipeline]
task = "classification"
labels = "labels.txt"
mean = [127.5, 127.5, 127.5]
std = [127.5, 127.5, 127.5]
top_k = 3
"""
RED, GREEN, BLUE = (200, 30, 20), (20, 180, 40), (10, 30, 220)


def photo(color: tuple[int, int, int], size: tuple[int, int] = (24, 16)) -> bytes:
    """A PNG of one colour with some noise."""
    noise = np.random.default_rng(5).integers(-8, 9, (size[1], size[0], 3))
    pixels = np.clip(np.array(color) + noise, 0, 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def make_project(root: Path, *, turn: int = 0, extra: str = "") -> Path:
    """Write the project without golden samples; `extra` is appended to the manifest."""
    root.mkdir(parents=True, exist_ok=True)
    (root / "enginecrate.toml").write_text(MANIFEST + extra)
    (root / "labels.txt").write_text("red\ngreen\nblue\n")
    save(color_classifier(turn), root / "colors.onnx")
    return root


def write_photos(folder: Path) -> list[Path]:
    """Three photos, red, green and blue."""
    folder.mkdir(parents=True, exist_ok=True)
    colors = {"red.png": RED, "green.png": GREEN, "blue.png": BLUE}
    for name, color in colors.items():
        (folder / name).write_bytes(photo(color))
    return [folder / name for name in colors]


def settings(cache: Path) -> Settings:
    return load_settings(environment={}, flags={"cache_dir": str(cache), "engine_threads": 1})
