"""Texts that training frameworks leave in a model: class names, sizes, tasks.

Ultralytics writes `names`, `imgsz`, `task`, `stride`, `batch` and `end2end` as Python literals,
PaddleOCR and RapidOCR `character` and `shape`, others `id2label` as JSON. Everything is parsed by a
small reader of literals with limits on size and depth; nothing is evaluated.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec
import onnx

__all__ = ["ModelMetadata", "read_metadata"]

_T = TypeVar("_T")

_LONGEST = 2**20
_DEEPEST = 6
_MOST_LABELS = 100_000
_LONGEST_LABEL = 200
_MOST_ENTRIES = 1000
_LARGEST_SIDE = 16384

_NAMES = ("names", "id2label", "class_names", "classes", "labels", "label_names", "categories")
_SIZES = ("imgsz", "input_size", "image_size", "img_size", "input_shape", "shape")

_TOKEN = re.compile(
    r"""\s*(?:(?P<text>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")"""
    r"""|(?P<number>[-+]?\d{1,18}(?:\.\d{0,18})?(?:[eE][-+]?\d{1,3})?)"""
    r"""|(?P<word>True|False|None|true|false|null)|(?P<mark>[][(){}:,]))\s*""",
    re.DOTALL,
)
_WORDS = {"True": True, "true": True, "False": False, "false": False, "None": None, "null": None}
_CLOSING = {"[": "]", "(": ")", "{": "}"}
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r"}
_ESCAPED = re.compile(r"\\(?:u([0-9a-fA-F]{4})|x([0-9a-fA-F]{2})|(.))", re.DOTALL)


@dataclass(frozen=True, slots=True)
class ModelMetadata:
    """What a model says about itself; empty where it says nothing.

    writer: the framework that wrote it, as far as it is known: `Ultralytics`, `PaddleOCR` ...
    task: as it is written there: `detect`, `classify`, `segment`, `pose`, `obb` ...
    labels: class names, by class. labels_key: where they were found.
    characters: of a text recogniser; the first one belongs to class 1, after the blank.
    size: height and width of the input.
    end2end: the answers are final boxes.
    mean, std: of pixel values in 0..1 or 0..255, as written.
    """

    writer: str = ""
    task: str = ""
    labels: tuple[str, ...] = ()
    labels_key: str = ""
    characters: tuple[str, ...] = ()
    size: tuple[int, int] | None = None
    size_key: str = ""
    stride: int = 0
    end2end: bool = False
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()


def read_metadata(proto: onnx.ModelProto) -> ModelMetadata:
    """Read what is understood; the rest is passed over."""
    texts = {one.key: one.value for one in proto.metadata_props[:_MOST_ENTRIES]}
    texts = {key: text for key, text in texts.items() if len(text) <= _LONGEST}
    labels_key, labels = _first(texts, _NAMES, _labels)
    size_key, size = _first(texts, _SIZES, _size)
    lines = _lines(texts.get("character", ""))
    arguments = _literal(texts.get("args", ""))
    nms = isinstance(arguments, dict) and arguments.get("nms") is True
    return ModelMetadata(
        writer=_writer(texts),
        task=_word(texts.get("task", "")),
        labels=labels or (),
        labels_key=labels_key,
        characters=lines if len(lines) <= _MOST_LABELS else (),
        size=size,
        size_key=size_key,
        stride=_stride(texts.get("stride", "")),
        end2end=nms or _literal(texts.get("end2end", "")) is True,
        mean=_channels(texts.get("mean", "")),
        std=_channels(texts.get("std", "")),
    )


def _first(
    texts: Mapping[str, str], keys: Sequence[str], read: Callable[[str], _T | None]
) -> tuple[str, _T | None]:
    for key in keys:
        if key in texts and (value := read(texts[key])):
            return key, value
    return "", None


def _writer(texts: Mapping[str, str]) -> str:
    if "ultralytics" in (texts.get("author", "") + texts.get("description", "")).lower():
        return "Ultralytics"
    if {"names", "stride", "task"} <= texts.keys():
        return "Ultralytics"
    if "character" in texts:
        return "PaddleOCR"
    if "id2label" in texts:
        return "Hugging Face"
    return _word(texts.get("author", "") or texts.get("producer", ""))


def _word(text: str) -> str:
    clean = text.strip().strip("'\"")
    return clean if re.fullmatch(r"[\w .+-]{1,40}", clean) else ""


def _labels(text: str) -> tuple[str, ...] | None:
    value = _literal(text)
    if isinstance(value, dict):
        try:
            numbered = {int(key): name for key, name in value.items()}
        except (TypeError, ValueError):
            return None
        if sorted(numbered) != list(range(len(numbered))):
            return None
        value = [numbered[index] for index in range(len(numbered))]
    elif value is None and "{" not in text and "[" not in text:
        value = text.splitlines() if "\n" in text.strip() else text.split(",")
        value = [name.strip() for name in value if name.strip()]
        value = value if len(value) > 1 else None
    if not isinstance(value, list) or not 0 < len(value) <= _MOST_LABELS:
        return None
    names = [_name(item) for item in value]
    return tuple(names) if all(names) else None


def _name(item: Any) -> str:
    """A class name without control characters; empty when it is none."""
    if not isinstance(item, str | int):
        return ""
    text = "".join(char if char.isprintable() else " " for char in str(item)).strip()
    return text if len(text) <= _LONGEST_LABEL else ""


def _lines(text: str) -> tuple[str, ...]:
    return tuple(text.removesuffix("\n").split("\n")) if text.strip() else ()


def _size(text: str) -> tuple[int, int] | None:
    value = _literal(text)
    if isinstance(value, int):
        value = [value, value]
    if not isinstance(value, list) or not all(type(side) is int for side in value):
        return None
    if len(value) in (3, 4):  # channels, height, width
        value = value[-2:] if value[-1] not in (1, 3) else value[-3:-1]
    usual = len(value) == 2 and all(8 <= side <= _LARGEST_SIDE for side in value)
    return (value[0], value[1]) if usual else None


def _stride(text: str) -> int:
    value = _literal(text)
    if isinstance(value, list):
        value = max((item for item in value if type(item) is int), default=0)
    return int(value) if isinstance(value, int | float) and 0 < value <= 1024 else 0


def _channels(text: str) -> tuple[float, ...]:
    value = _literal(text)
    if not isinstance(value, list) or len(value) not in (1, 3):
        return ()
    numbers = [float(one) for one in value if type(one) in (int, float)]
    return tuple(numbers) if len(numbers) == len(value) else ()


def _literal(text: str) -> Any:
    """A JSON text or a Python literal of lists, tuples, dictionaries, texts and numbers.

    `None` for everything else, and for what is too deep.
    """
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        pass
    tokens = _tokens(text)
    if not tokens:
        return None
    try:
        value, end = _parse(tokens, 0, _DEEPEST)
    except (IndexError, ValueError):
        return None
    return value if end == len(tokens) else None


def _tokens(text: str) -> list[tuple[str, str]]:
    tokens: list[tuple[str, str]] = []
    position = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None or match.lastgroup is None:
            return []
        tokens.append((match.lastgroup, match[match.lastgroup]))
        position = match.end()
    return tokens


def _parse(tokens: list[tuple[str, str]], index: int, depth: int) -> tuple[Any, int]:
    kind, text = tokens[index]
    index += 1
    if kind == "text":
        return _unescaped(text[1:-1]), index
    if kind == "number":
        return (int(text) if re.fullmatch(r"[-+]?\d+", text) else float(text)), index
    if kind == "word":
        return _WORDS[text], index
    if text not in _CLOSING or depth == 0:
        raise ValueError(text)
    close = _CLOSING[text]
    pairs: dict[Any, Any] = {}
    items: list[Any] = []
    while tokens[index][1] != close or tokens[index][0] != "mark":
        item, index = _parse(tokens, index, depth - 1)
        if close == "}":
            if tokens[index][1] != ":" or not isinstance(item, str | int):
                raise ValueError(text)
            pairs[item], index = _parse(tokens, index + 1, depth - 1)
        else:
            items.append(item)
        if tokens[index] == ("mark", ","):
            index += 1
        elif tokens[index] != ("mark", close):
            raise ValueError(text)
    return (pairs if close == "}" else items), index + 1


def _unescaped(text: str) -> str:
    def plain(match: re.Match[str]) -> str:
        code = match[1] or match[2]
        return chr(int(code, 16)) if code else _ESCAPES.get(match[3], match[3])

    return _ESCAPED.sub(plain, text) if "\\" in text else text
