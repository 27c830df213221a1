"""The text of a new manifest, with comments for the person who will edit it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import msgspec

from enginecrate.values import PipelineSpec

__all__ = ["render_manifest", "toml_value"]

_IMAGE_KEYS = ("color", "resize", "mean", "std", "layout")
"""Written even when they have their default: a model is only right with those of its training."""

_HEAD = """\
# Check this file with `enginecrate manifest check`; `enginecrate manifest schema` lists every key.

[app]
name = {name}
version = "0.1.0"
summary = ""

[model]
path = {model}

[pipeline]
"""

_TAIL = """
[precision]
mode = "fp32"
accuracy = { golden = "golden/" }

[targets]
stacks = ["ort-cpu"]

[serve]
instances = 1
"""


def render_manifest(name: str, model: str, spec: PipelineSpec) -> str:
    """The manifest of a project that was made from a vendor's model.

    Args:
        name: the app's name.
        model: the ONNX file, relative to the project folder.
        spec: written out key by key; keys at their default are left out, except those that
            describe how the model wants its image.
    """
    head = _HEAD.format(name=toml_value(name), model=toml_value(model))
    return head + "".join(_pipeline_lines(spec)) + _TAIL


def _pipeline_lines(spec: PipelineSpec) -> list[str]:
    values = msgspec.structs.asdict(spec)
    defaults = msgspec.structs.asdict(PipelineSpec(task=spec.task))
    image = spec.task != "tensors"
    plain = [
        key
        for key, value in values.items()
        if key == "task" or (value != defaults[key] and key not in _IMAGE_KEYS)
    ]
    lines = [f"{key} = {toml_value(values[key])}\n" for key in plain]
    if image:
        lines.append("# How the model wants its image: these must be as they were in training.\n")
        lines += [f"{key} = {toml_value(values[key])}\n" for key in _IMAGE_KEYS]
    return lines


def toml_value(value: Any) -> str:
    """A value as TOML. JSON's escapes in strings are a subset of TOML's (TOML 1.0, "String")."""
    if isinstance(value, Mapping):
        pairs = (f"{json.dumps(key)} = {toml_value(item)}" for key, item in value.items())
        return "{ " + ", ".join(pairs) + " }"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(toml_value, value)) + "]"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
