"""The text of a new manifest, with comments for the person who will edit it."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from enginecrate.builder.scaffold.guess.guesses import Guess
from enginecrate.values import PipelineSpec

__all__ = ["render_manifest", "toml_value"]

_IMAGE_KEYS = ("color", "resize", "mean", "std", "layout")
"""Written even when they have their default: a model is only right with those of its training."""

_WIDTH = 100

_HEAD = """\
# Check this file with `enginecrate manifest check`; `enginecrate manifest schema` lists every key.

[app]
name = {name}
version = "0.1.0"
summary = ""

[model]
path = {model}

"""

_GUESSED = """\
# What follows was guessed from the model. Each line has its reason, and how sure it is: sure (the
# model says so) or likely (the custom of the field; correct it if you know better). After "or" and
# "others" stands what else can be written there.
"""

_IMAGE_HEAD = """\
# How the model wants its image. These must be as they were in training: wrong ones give wrong
# answers without any error. A photo is resized; then each pixel value x in 0..255 becomes
# (x - mean) / std, channel by channel, in the order of `color`.
"""

_LABELS = """\
# labels = "models/labels.txt"  # one class name a line, in the model's order; without it "class 0"
"""

_OPTIONS = """\
# decoder_options = {}  # for example { activation = "sigmoid" }; see docs/pipelines.md
"""

_THRESHOLDS = (
    "score_threshold = 0.4  # boxes below it are left out; others: 0.0 to 1.0\n",
    "iou_threshold = 0.5  # boxes that overlap more than this are one object\n",
)

_TAIL = """
[precision]
mode = "fp32"
accuracy = { golden = "golden/" }

[targets]
stacks = ["ort-cpu"]

[serve]
instances = 1
"""


def render_manifest(
    name: str, model: str, spec: PipelineSpec, guesses: Sequence[Guess] = ()
) -> str:
    """The manifest of a project that was made from a vendor's model.

    Args:
        name: the app's name.
        model: the ONNX file, relative to the project folder.
        spec: written out key by key; keys at their default are left out, except those that
            describe how the model wants its image.
        guesses: their reasons and alternatives become comments.
    """
    head = _HEAD.format(name=toml_value(name), model=toml_value(model))
    guessed = _GUESSED if guesses else ""
    lines = _pipeline_lines(spec, {guess.key: guess for guess in guesses})
    return head + guessed + "[pipeline]\n" + "".join(lines) + _TAIL


def _pipeline_lines(spec: PipelineSpec, guesses: Mapping[str, Guess]) -> list[str]:
    values = msgspec.structs.asdict(spec)
    defaults = msgspec.structs.asdict(PipelineSpec(task=spec.task))
    image = spec.task != "tensors"
    resizing = [key for key in ("size", "short_side") if image and values[key] is not None]
    first = [key for key in ("task", "activation", "decoder", "decoder_options") if key in guesses]
    plain = [
        key
        for key, value in values.items()
        if key == "task" or (value != defaults[key] and key not in (*_IMAGE_KEYS, *resizing))
    ]
    lines = [_line(key, values[key], guesses.get(key)) for key in dict.fromkeys([*first, *plain])]
    if spec.task == "detection":
        lines += [] if "decoder_options" in (*first, *plain) else [_OPTIONS]
        lines += _THRESHOLDS
    if spec.labels is None and spec.task in ("classification", "detection"):
        lines.append(_LABELS)
    if image:
        lines.append("\n" + _IMAGE_HEAD)
        keys = ["color", "resize", *resizing, *_IMAGE_KEYS[2:]]
        lines += [_line(key, values[key], guesses.get(key)) for key in keys]
    return lines


def _line(key: str, value: Any, guess: Guess | None) -> str:
    """A key with its comment: behind it, or above where it is long."""
    line = f"{key} = {toml_value(value)}"
    if guess is None:
        return f"{line}\n"
    words = _printable(f"{guess.reason} ({guess.certainty})")
    others = [_printable(other) for other in guess.others]
    short = f"{line}  # {words}" + ("; others: " + ", ".join(others) if others else "")
    if len(short) <= _WIDTH:
        return f"{short}\n"
    above = textwrap.wrap(words, _WIDTH - 2, break_long_words=False, break_on_hyphens=False)
    above += [f"  or: {other}" for other in others]
    return "".join(f"# {part}\n" for part in above) + f"{line}\n"


def _printable(text: str) -> str:
    """Names out of a model may hold anything, and a comment must end with its line."""
    return "".join(char if char.isprintable() else " " for char in text)


def toml_value(value: Any) -> str:
    """A value as TOML. JSON's escapes in strings are a subset of TOML's (TOML 1.0, "String")."""
    if isinstance(value, Mapping):
        pairs = (f"{json.dumps(key)} = {toml_value(item)}" for key, item in value.items())
        return "{ " + ", ".join(pairs) + " }"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(toml_value, value)) + "]"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
