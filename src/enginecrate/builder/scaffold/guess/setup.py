"""The whole set-up of a vendor's model: task, decoder, activation, size, pixels, labels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import msgspec

from enginecrate.builder.scaffold.guess.boxes import find_boxes
from enginecrate.builder.scaffold.guess.evidence import (
    Evidence,
    Observation,
    Output,
    Watch,
    gather,
    outputs_of,
)
from enginecrate.builder.scaffold.guess.guesses import (
    Answers,
    Certainty,
    Guess,
    Setup,
    make_spec,
)
from enginecrate.builder.scaffold.guess.observer import observer
from enginecrate.builder.scaffold.guess.picture import (
    Picture,
    find_picture,
    guess_constants,
    guess_size,
)
from enginecrate.builder.scaffold.guess.pixels import (
    IMAGENET,
    MINUS_ONE_TO_ONE,
    RAW,
    ZERO_TO_ONE,
    Numbers,
    guess_color,
    guess_pixels,
)
from enginecrate.builder.scaffold.guess.rows import Row, find_row, judge_row
from enginecrate.builder.scaffold.guess.scene import Boxes
from enginecrate.errors import LabelsInvalid, PipelineError, PipelineInvalid
from enginecrate.graph.onnx.model import OnnxModel
from enginecrate.pipelines.decoders.registry import DECODERS
from enginecrate.pipelines.loader import create_pipeline
from enginecrate.values import PipelineSpec

__all__ = ["guess_from", "guess_setup"]

_TASKS = {
    "classification": "a photo in, its best classes out",
    "detection": "a photo in, boxes out",
    "image": "a photo in, the model's own tensors out",
    "tensors": "tensors in, tensors out",
}
_OTHER_TASKS = {
    "segment": "masks", "pose": "key points", "obb": "rotated boxes", "depth": "a depth map",
}  # fmt: skip
_SIZES = (
    (224, 224),
    (640, 640),
    (320, 320),
    (112, 112),
    (48, 320),
    (32, 320),
    (256, 256),
    (512, 512),
)
"""Height and width that models are often trained with, to see which one a model takes."""
_LARGER = 64
"""Added to a size, to see whether the model takes others, too; 64 keeps sides even."""
_SMALL_SIDE = 64
_NANODET = ((103.53, 116.28, 123.675), (57.375, 57.12, 58.395))


def guess_setup(model: OnnxModel, answers: Answers) -> Setup:
    """Guess how a model is set up. It is run on two photos where it takes photos.

    Raises:
        PipelineInvalid: the model cannot do the task that the user names.
    """
    with observer(model) as watch:
        return guess_from(gather(model), answers, watch)


def guess_from(evidence: Evidence, answers: Answers, watch: Watch) -> Setup:
    """The same from evidence that was gathered already."""
    if answers.task == "tensors":
        return _tensors("as you say", "sure")
    picture = find_picture(evidence, answers)
    if isinstance(picture, str):
        if answers.task is not None:
            raise _unfit(answers.task, picture, "tensors")
        return _tensors(picture, "sure")
    usual = 224 if any(len(output.shape) == 2 for output in evidence.outputs) else 640
    size = guess_size(picture, evidence, answers, usual)
    size, observation = _observe(picture, evidence, answers, size, watch)
    sides = size.value if size is not None else (picture.height, picture.width)
    base = _base(picture, answers, size)
    outputs = outputs_of(evidence, observation)
    plan = _Plan(evidence, answers, picture, base, sides, outputs, observation, watch)
    return plan.setup()


def _base(picture: Picture, answers: Answers, size: Guess | None) -> list[Guess]:
    """The guesses about the inputs alone."""
    sides = size.value if size is not None else (picture.height, picture.width)
    return [picture.layout, *([size] if size else []), *guess_constants(picture, answers, sides)]


def _observe(
    picture: Picture, evidence: Evidence, answers: Answers, size: Guess | None, watch: Watch
) -> tuple[Guess | None, Observation]:
    """Run the model; where its size is unknown, with the first usual one that it takes."""
    observation = watch(_first_spec(picture, evidence, _base(picture, answers, size)))
    if size is None or size.certainty != "unknown":
        return size, observation
    usual = (size.value, *_SIZES) if observation.failure else (size.value,)
    for height, width in usual:
        sides = (
            picture.height if picture.height > 0 else height,
            picture.width if picture.width > 0 else width,
        )
        size = msgspec.structs.replace(size, value=sides)
        if observation.failure:
            observation = watch(_first_spec(picture, evidence, _base(picture, answers, size)))
        if not observation.failure:
            return _narrowed(picture, evidence, answers, size, watch), observation
    return msgspec.structs.replace(size, value=usual[0]), observation


def _narrowed(
    picture: Picture, evidence: Evidence, answers: Answers, size: Guess, watch: Watch
) -> Guess:
    """The same, likely when the model takes no other size, as one with fixed layers does."""
    height, width = (
        side + _LARGER if open_side < 1 else side
        for side, open_side in zip(size.value, (picture.height, picture.width), strict=True)
    )
    larger = msgspec.structs.replace(size, value=(height, width))
    if not watch(_first_spec(picture, evidence, _base(picture, answers, larger))).failure:
        return size
    return Guess(
        "size", size.value, f"the model runs with it, and does not run with {height}x{width}",
        "likely", size.others,
    )  # fmt: skip


def _first_spec(picture: Picture, evidence: Evidence, base: Sequence[Guess]) -> PipelineSpec:
    """The section that the model is run with to see its outputs."""
    color = Guess("color", "gray" if picture.channels == 1 else "rgb", "", "likely")
    rows = any(len(output.shape) == 2 for output in evidence.outputs)
    numbers = _classifier_numbers(picture, evidence)[0] if rows else ZERO_TO_ONE
    pixels = guess_pixels(picture, evidence, numbers, "", "likely")
    name = Guess("input", picture.tensor.name, "", "sure")
    task = Guess("task", "image", "", "likely")
    return make_spec([task, name, *base, color, *pixels])


def _tensors(reason: str, certainty: Certainty) -> Setup:
    guess = Guess("task", "tensors", reason, certainty, _other_tasks("tensors"))
    return Setup(spec=make_spec([guess]), guesses=(guess,))


def _unfit(task: str, reason: str, other: str) -> PipelineInvalid:
    """The error for a task that the model cannot do. `other`: the task that it can."""
    return PipelineInvalid(
        f"task {task!r} does not fit the model: {reason}; use --task {other}, or write a "
        "pipeline of your own (`enginecrate init --template custom`)"
    )


class _Plan:
    """The choice among classification, detection and image, once the model was run."""

    def __init__(
        self,
        evidence: Evidence,
        answers: Answers,
        picture: Picture,
        base: Sequence[Guess],
        sides: tuple[int, int],
        outputs: Sequence[Output],
        observation: Observation,
        watch: Watch,
    ) -> None:
        self.evidence = evidence
        self.answers = answers
        self.picture = picture
        self.base = list(base)
        self.sides = sides
        self.outputs = outputs
        self.observation = observation
        self.watch = watch

    def setup(self) -> Setup:
        """The first of detection and classification that fits; else image."""
        task = self.answers.task
        listed = ", ".join(map(str, self.evidence.outputs))
        other = _OTHER_TASKS.get(self.evidence.metadata.task)
        if other and task is None:
            words = f'the model\'s metadata says task = "{self.evidence.metadata.task}": {other}'
            return self._image(words, "sure")
        if task in (None, "detection"):
            boxes = find_boxes(self.outputs, self.sides, self.evidence, self.answers)
            if boxes is not None:
                return self._checked(self._detection(boxes))
            if task == "detection":
                raise _unfit(
                    task, f"the outputs ({listed}) are not boxes that a decoder reads", "image"
                )
        if task in (None, "classification"):
            row = find_row(self.outputs, self.answers.labels)
            if row is not None and self._keeps_its_width(row):
                judgement = judge_row(row, self.evidence.metadata, self.answers)
                if judgement.activation or task == "classification":
                    return self._checked(self._classification(row, judgement))
                return self._image(f"{row.spec}: {judgement.reason}", judgement.kind_certainty)
            if task == "classification":
                raise _unfit(task, f"the outputs ({listed}) are not one row of scores", "image")
        if task == "image":
            return self._image("as you say", "sure")
        return self._image(*self._leftover(listed))

    def _checked(self, setup: Setup) -> Setup:
        """The same, if its pipeline reads the model; else the task `image`, and why."""
        try:
            create_pipeline(setup.spec, self.evidence.inputs, self.evidence.outputs, [], Path())
        except PipelineError as exc:
            if self.answers.task is not None:
                raise
            return self._image(f"{setup.spec.task} does not fit: {exc}", "likely")
        return setup

    def _leftover(self, listed: str) -> tuple[str, Certainty]:
        """The reason for `image`, where no other task fits."""
        if self.evidence.metadata.characters:
            return f"the model writes characters ({listed})", "sure"
        steps = [one for one in self.outputs if len(one.shape) == 3]
        if len(self.outputs) == len(steps) == 1 and 1 not in steps[0].shape[2:]:
            return f"rows for steps or points, not boxes that a decoder reads ({listed})", "likely"
        maps = [one for one in self.outputs if len(one.shape) == 4]
        if maps and len(maps) == len(self.outputs):
            return f"the outputs are maps over the picture ({listed})", "sure"
        return f"the outputs ({listed}) are no row of scores, and no boxes that are read", "likely"

    def _keeps_its_width(self, row: Output) -> bool:
        """False for a row that grows with the picture, as characters of a line do."""
        height, width = self.sides
        if -1 not in row.spec.shape[1:] or not row.arrays or self.picture.width > 0:
            return True
        larger = (height, width * 2) if self.picture.height > 0 else (height * 2, width * 2)
        base = [guess for guess in self.base if guess.key != "size"]
        spec = _first_spec(
            self.picture, self.evidence, [*base, Guess("size", larger, "", "likely")]
        )
        again = outputs_of(self.evidence, self.watch(spec))
        found = next(one for one in again if one.name == row.name)
        return not found.arrays or found.shape == row.shape

    def _detection(self, boxes: Boxes) -> Setup:
        why = f"the custom for {boxes.decoder}"
        letterbox = boxes.family in ("ultralytics", "yolox")
        numbers = {
            "detr": IMAGENET, "picodet": IMAGENET, "paddle": IMAGENET, "nanodet": _NANODET,
            "tensorflow": RAW, "yolox": RAW,
        }.get(boxes.family, ZERO_TO_ONE)  # fmt: skip
        told = self.evidence.metadata.writer == "Ultralytics"
        certainty: Certainty = "sure" if told else "likely"
        if told:
            why = "Ultralytics' models are trained so"
        decoder_certainty = "sure" if self.answers.decoder else boxes.certainty
        guesses = [
            self._task("detection", boxes.reason, boxes.certainty),
            Guess(
                "decoder", boxes.decoder, boxes.reason, decoder_certainty,
                _decoders(boxes.decoder), "--decoder NAME",
            ),
        ]  # fmt: skip
        if boxes.options or boxes.options_certainty == "unknown":
            guesses.append(
                Guess(
                    "decoder_options", boxes.options, boxes.options_reason,
                    boxes.options_certainty, boxes.others,
                    boxes.options_flag,
                )
            )  # fmt: skip
        color = "bgr" if boxes.family in ("nanodet", "yolox") else "rgb"
        resize = "letterbox" if letterbox else "stretch"
        shape = Guess("resize", resize, why, certainty, _resize_others(resize))
        if self._follows_photo(boxes):
            shape = Guess(
                "resize", "proportional",
                "the model takes photos of any size, and gives boxes in their pixels", "likely",
                _resize_others("proportional"),
            )  # fmt: skip
            self.base = [guess for guess in self.base if guess.key != "size"]
        return self._finish(
            guesses, guess_color(self.picture, self.answers, color, why, certainty),
            [shape], guess_pixels(self.picture, self.evidence, numbers, why, certainty),
        )  # fmt: skip

    def _follows_photo(self, boxes: Boxes) -> bool:
        """True for a model of open size whose finished boxes need none."""
        unknown = any(one.key == "size" and one.certainty == "unknown" for one in self.base)
        return unknown and boxes.decoder == "torchvision" and "normalised" not in boxes.options

    def _classification(self, row: Output, judgement: Row) -> Setup:
        count = max(row.shape[1:])
        many = f"{count} classes" if count > 0 else "an unknown number of classes"
        certainty: Certainty = "sure" if self.answers.task else judgement.kind_certainty
        activation = judgement.activation or "softmax"
        guesses = [
            self._task(
                "classification",
                f"the output {row.spec} is one row for each photo, {many}; {judgement.reason}",
                certainty,
            ),
            Guess(
                "activation", activation, judgement.reason,
                judgement.certainty if judgement.activation else "unknown", judgement.others,
                "--activation softmax|sigmoid|none",
            ),
        ]  # fmt: skip
        ultralytics = self.evidence.metadata.writer == "Ultralytics"
        told: Certainty = "sure" if ultralytics else "likely"
        why = "Ultralytics' models are trained so" if ultralytics else "the custom for classifiers"
        numbers, words = _classifier_numbers(self.picture, self.evidence)
        return self._finish(
            guesses, guess_color(self.picture, self.answers, "rgb", words, told),
            self._classifier_resize(why, told),
            guess_pixels(self.picture, self.evidence, numbers, words, told),
        )  # fmt: skip

    def _classifier_resize(self, why: str, certainty: Certainty) -> list[Guess]:
        """The middle of the photo; the whole of it where the input is small, or no square."""
        side = max(self.sides)
        if side <= _SMALL_SIDE or min(self.sides) < side:
            words = "the custom for inputs that are small, or no square"
            return [Guess("resize", "stretch", words, "likely", _resize_others("stretch"))]
        told = self.evidence.metadata.writer == "Ultralytics"
        short_side = side if told else round(side * 256 / 224)
        return [
            Guess(
                "resize", "short_side_crop", why, certainty, _resize_others("short_side_crop")
            ),
            Guess(
                "short_side", short_side, f"{why}; the crop is {side} pixels", certainty,
                (f"{side} (nothing is cut off the short side)",),
            ),
        ]  # fmt: skip

    def _image(self, reason: str, certainty: Certainty) -> Setup:
        guesses = [self._task("image", reason, certainty)]
        why = "assumed; ask those who trained the model"
        numbers, color = ZERO_TO_ONE, "rgb"
        if self.evidence.metadata.writer == "Ultralytics":
            why = "Ultralytics' models are trained so"
        if self.evidence.metadata.characters:
            numbers, color = MINUS_ONE_TO_ONE, "bgr"
            why = "the custom of PaddleOCR's recognisers"
        resize = "letterbox" if self.evidence.metadata.writer == "Ultralytics" else "stretch"
        return self._finish(
            guesses, guess_color(self.picture, self.answers, color, why),
            [Guess("resize", resize, why, "likely", _resize_others(resize))],
            guess_pixels(self.picture, self.evidence, numbers, why, "likely"),
        )  # fmt: skip

    def _task(
        self, task: Literal["classification", "detection", "image"], reason: str, sure: Certainty
    ) -> Guess:
        if self.answers.task is not None:
            reason, sure = f"as you say; {reason}" if reason != "as you say" else reason, "sure"
        return Guess(
            "task", task, reason, sure, _other_tasks(task),
            "--task classification|detection|image|tensors",
        )  # fmt: skip

    def _finish(
        self,
        first: Sequence[Guess],
        color: Guess,
        resize: Sequence[Guess],
        pixels: Sequence[Guess],
    ) -> Setup:
        guesses = [*first]
        if self.picture.others:
            listed = self.picture.tensor
            guesses.append(Guess("input", self.picture.tensor.name, f"{listed}", "sure"))
        guesses += [*self.base[1:], color, *resize, *pixels, self.base[0]]
        spec = make_spec(guesses)
        labels, reason = self._labels(spec)
        return Setup(spec=spec, guesses=tuple(guesses), labels=labels, labels_reason=reason)

    def _labels(self, spec: PipelineSpec) -> tuple[tuple[str, ...], str]:
        """The class names in the model, when they are as many as its classes."""
        metadata = self.evidence.metadata
        names = metadata.labels
        key = metadata.labels_key
        if not names and spec.task != "image" and len(metadata.characters) > 1:
            names, key = metadata.characters, "character"
        if spec.task == "image" or not names:
            return (), ""
        found = f"{len(names)} names in the model's metadata ({key})"
        if len(set(names)) != len(names):
            return (), f"the {found} are not used: some are there twice"
        try:
            arrived = [output.runtime_spec for output in self.outputs]
            create_pipeline(spec, self.evidence.inputs, arrived, names, Path())
        except (LabelsInvalid, PipelineError) as exc:
            return (), f"the {found} are not used: {exc}"
        return names, found


def _classifier_numbers(picture: Picture, evidence: Evidence) -> tuple[Numbers, str]:
    """Mean and std by the custom of classifiers, and the reason."""
    ask = "ask those who trained the model"
    if evidence.metadata.writer == "Ultralytics":
        return ZERO_TO_ONE, "Ultralytics' models are trained so"
    if picture.channels == 1:
        return ZERO_TO_ONE, f"the custom for grey pictures; {ask}"
    if picture.layout.value == "nhwc" or "tf2onnx" in evidence.frameworks:
        return MINUS_ONE_TO_ONE, f"the custom of TensorFlow's classifiers; {ask}"
    return IMAGENET, f"the custom of PyTorch's classifiers; {ask}"


def _decoders(chosen: str) -> tuple[str, ...]:
    others = ", ".join(f'"{name}"' for name in DECODERS if name != chosen)
    return (f"{others} (docs/pipelines.md says what they read)",)


def _other_tasks(chosen: str) -> tuple[str, ...]:
    return tuple(f'"{task}" ({words})' for task, words in _TASKS.items() if task != chosen)


def _resize_others(chosen: str) -> tuple[str, ...]:
    ways = {
        "stretch": "the whole photo, its aspect changes",
        "letterbox": "the whole photo with a grey border",
        "short_side_crop": "the middle of the photo",
        "proportional": "open sides follow the photo; then leave size out",
    }
    return tuple(f'"{way}" ({words})' for way, words in ways.items() if way != chosen)
