"""A pipeline is guessed from the names and shapes of a model's inputs and outputs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from enginecrate.errors import EnginecrateError, PipelineInvalid
from enginecrate.pipelines.decoders.base import Head
from enginecrate.pipelines.decoders.registry import create_decoder
from enginecrate.pipelines.decoders.yolo import YoloDecoder
from enginecrate.pipelines.normalize import IMAGE_DATATYPES
from enginecrate.values import DataType, PipelineSpec, TensorSpec

__all__ = ["Guess", "guess_pipeline"]

_CHANNELS = (1, 3)

_IMAGENET: dict[str, Any] = {"mean": (123.675, 116.28, 103.53), "std": (58.395, 57.12, 57.375)}

_ZERO_TO_ONE: dict[str, Any] = {"std": (255.0, 255.0, 255.0)}

_PROBABILITIES = ("prob", "softmax", "sigmoid", "score")

_READABLE = {
    None: "one row of scores, or boxes that a decoder reads",
    "classification": "one row of scores",
    "detection": "boxes that a decoder reads",
    "image": "one image input",
}

_SIGMOID = {"activation": "sigmoid"}

_SIGMOID_DETR_CLASSES = {80, 365, 366}
"""RT-DETR's COCO and Objects365 heads have no class for "no object"; DETR's has 92 with it."""

_NUMBERS: dict[str, dict[str, Any]] = {
    "detr": _IMAGENET,
    "nanodet": {
        "color": "bgr",
        "mean": (103.53, 116.28, 123.675),
        "std": (57.375, 57.12, 58.395),
    },
    "ssd": _ZERO_TO_ONE,
    "yolo": _ZERO_TO_ONE,
}


@dataclass(frozen=True, slots=True)
class Guess:
    """A pipeline that fits a model's shapes, and in words what it was concluded from."""

    spec: PipelineSpec
    reasons: list[str]


@dataclass(frozen=True, slots=True)
class _ImageGuess:
    """An input that takes an image.

    height, width: -1 where the model leaves them open.
    keys: for the `[pipeline]` section: layout and color, and size where the model needs one.
    reasons: what they were concluded from.
    """

    tensor: TensorSpec
    height: int
    width: int
    keys: dict[str, Any]
    reasons: list[str]

    @property
    def normalises_itself(self) -> bool:
        """True when it takes pixel values as they are."""
        return self.tensor.datatype is DataType.UINT8

    def sized(self, usual: int, why: str) -> _ImageGuess:
        """The same, with a usual height and width where the model leaves them open."""
        if self.height > 0 and self.width > 0:
            return self
        height = self.height if self.height > 0 else usual
        width = self.width if self.width > 0 else usual
        reason = f"size = [{height}, {width}]: the model leaves it open; {why}"
        keys = self.keys | {"size": (height, width)}
        return _ImageGuess(self.tensor, height, width, keys, [*self.reasons, reason])


def guess_pipeline(
    inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], task: str | None = None
) -> Guess:
    """Guess task, layout, size and decoder.

    Shapes do not tell how pixels are normalised, so that is always a guess by custom.

    Args:
        inputs: of the model.
        outputs: of the model.
        task: what the user says it is; `None` guesses it, too.

    Raises:
        PipelineInvalid: the model cannot do `task`.
    """
    if task == "tensors":
        return Guess(PipelineSpec(task="tensors"), ["task = tensors, as you say"])
    image = _guess_image(inputs)
    if isinstance(image, str):
        return _tensors(image, task)
    if task == "image":
        sized = image.sized(640, "a usual size")
        return _finish("image", sized, sized.keys, ["task = image, as you say"], _ZERO_TO_ONE)
    guess = None
    if task in (None, "detection"):
        guess = _detection(image, outputs)
    if guess is None and task in (None, "classification"):
        guess = _classification(image, outputs)
    if guess is None:
        listed = ", ".join(map(str, outputs))
        return _tensors(f"the outputs ({listed}) are not {_READABLE[task]}", task)
    return guess


def _guess_image(inputs: Sequence[TensorSpec]) -> _ImageGuess | str:
    """The model's image input; or why it has none that a built-in pipeline can fill."""
    listed = ", ".join(map(str, inputs))
    if len(inputs) != 1:
        return f"the model has {len(inputs)} inputs ({listed}), and a picture fills one"
    tensor = inputs[0]
    shape = tensor.shape
    if len(shape) != 4 or tensor.datatype not in IMAGE_DATATYPES:
        return f"the input {listed} is not an image with batch, channels, height and width"
    if shape[0] not in (-1, 1):
        return f"the input {listed} has a fixed batch of {shape[0]}"
    if shape[1] not in _CHANNELS and shape[3] not in _CHANNELS and -1 not in shape[1:]:
        return f"the input {listed} has neither 1 nor 3 channels"
    nhwc = shape[3] in _CHANNELS and shape[1] not in _CHANNELS
    channels = shape[3] if nhwc else shape[1]
    height, width = shape[1:3] if nhwc else shape[2:]
    keys = {"layout": "nhwc" if nhwc else "nchw", "color": "gray" if channels == 1 else "rgb"}
    reason = f"layout = {keys['layout']}: the input is {listed}"
    return _ImageGuess(tensor, height, width, keys, [reason])


def _tensors(reason: str, task: str | None) -> Guess:
    if task is not None:
        raise PipelineInvalid(
            f"task {task!r} does not fit the model: {reason}; use --task tensors, or write a "
            "pipeline of your own (`enginecrate init --template custom`)"
        )
    return Guess(PipelineSpec(task="tensors"), [f"task = tensors: {reason}"])


def _classification(image: _ImageGuess, outputs: Sequence[TensorSpec]) -> Guess | None:
    rows = [output for output in outputs if _is_row(output)]
    if len(rows) != 1:
        return None
    output = rows[0]
    classes = max(output.shape[1:])
    count = f"{classes} classes" if classes > 0 else "an unknown number of classes"
    reasons = [f"task = classification: the output {output} is one row for each image, {count}"]
    image = image.sized(224, "a usual size for classifiers")
    short_side = round(max(image.height, image.width) * 256 / 224)
    keys = image.keys | {"resize": "short_side_crop", "short_side": short_side}
    reasons.append(
        f"resize = short_side_crop, short_side = {short_side}: the custom for classifiers"
    )
    if any(word in output.name.lower() for word in _PROBABILITIES):
        keys["activation"] = "none"
        reasons.append(f"activation = none: the name {output.name!r} says they are scores already")
    elif classes == 1:
        keys["activation"] = "sigmoid"
        reasons.append("activation = sigmoid: there is only one class")
    else:
        reasons.append("activation = softmax: assumed; use none if the model ends with a softmax")
    return _finish("classification", image, keys, reasons, _IMAGENET)


def _is_row(output: TensorSpec) -> bool:
    rest = [size for size in output.shape[1:] if size != 1]
    numeric = output.datatype not in (DataType.BOOL, DataType.BYTES)
    return numeric and len(output.shape) >= 2 and len(rest) <= 1


def _detection(image: _ImageGuess, outputs: Sequence[TensorSpec]) -> Guess | None:
    image = image.sized(*_side_from_boxes(outputs))
    head = Head(outputs, image.height, image.width)
    for decoder, options in _decoders(outputs):
        try:
            made = create_decoder(decoder, options, head)
        except EnginecrateError:
            continue
        if isinstance(made, YoloDecoder) and made.undecided:
            continue  # an output whose dimensions are all open may be anything
        resize = "letterbox" if decoder == "yolo" else "stretch"
        reasons = [
            f"task = detection, decoder = {decoder}: it reads such outputs ({head}) of a model "
            f"with an input of {image.height}x{image.width}",
            f"resize = {resize}: the custom for {decoder}",
        ]
        if options:
            reasons.append(f"decoder_options = {_words(options)}: the usual ones for such shapes")
        keys = image.keys | {"decoder": decoder, "decoder_options": options, "resize": resize}
        numbers = _ZERO_TO_ONE if options == _SIGMOID else _NUMBERS[decoder]
        return _finish("detection", image, keys, reasons, numbers)
    return None


def _decoders(outputs: Sequence[TensorSpec]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Decoders to try, the strictest first; SSD and DETR share a shape, so names decide."""
    yield "nanodet", {}
    yield "yolo", {}
    if len(outputs) == 1 and len(outputs[0].shape) == 3:
        _, rows, columns = outputs[0].shape
        if columns > 5 and rows == -1:
            yield "yolo", {"kind": "objectness", "channels": "last"}
    queries = {output.shape[1] for output in outputs if len(output.shape) == 3}
    if queries and max(queries) <= 1000:
        classes = {output.shape[2] for output in outputs if len(output.shape) == 3} - {4}
        yield "detr", _SIGMOID if classes & _SIGMOID_DETR_CLASSES else {}
    yield "ssd", {}


def _side_from_boxes(outputs: Sequence[TensorSpec]) -> tuple[int, str]:
    """A square input's side that gives the number of boxes; 640 where they do not tell."""
    sizes = [size for output in outputs for size in output.shape[1:]]
    for side in range(160, 1601, 32):
        cells = [(side // stride) ** 2 for stride in (8, 16, 32)]
        if sum(cells) in sizes or 3 * sum(cells) in sizes or set(cells) <= set(sizes):
            return side, "this size gives the model's number of boxes"
    return 640, "a usual size for detectors"


def _finish(
    task: str,
    image: _ImageGuess,
    keys: dict[str, Any],
    reasons: list[str],
    numbers: dict[str, Any],
) -> Guess:
    """Add the normalisation."""
    if image.normalises_itself:
        numbers = {key: value for key, value in numbers.items() if key == "color"}
    if keys["color"] == "gray":
        numbers = {} if image.normalises_itself else {"mean": (0.0,), "std": (255.0,)}
    else:
        numbers = {"color": keys["color"]} | numbers
    if image.normalises_itself:
        reasons.append("mean and std left out: the input takes bytes as they are")
    words = ", ".join(f"{key} = {_words(value)}" for key, value in numbers.items())
    if words:
        reasons.append(f"{words}: assumed, as shapes do not tell; ask the model's authors")
    spec = PipelineSpec(task=task, **(keys | numbers))  # type: ignore[arg-type]
    return Guess(spec, [reasons[0], *image.reasons, *reasons[1:]])


def _words(value: object) -> str:
    """A value as TOML shows it."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_words(item)}" for key, item in value.items()) + " }"
    if isinstance(value, str):
        return f'"{value}"'
    return str(list(value)) if isinstance(value, tuple) else str(value)
