"""From an encoded image to the tensor that a model takes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from enginecrate.errors import PipelineInvalid, nearest
from enginecrate.pipelines.base import Limits
from enginecrate.pipelines.constants import constant_arrays
from enginecrate.pipelines.cost import DecodeCost
from enginecrate.pipelines.geometry import Geometry
from enginecrate.pipelines.normalize import Normalizer
from enginecrate.pipelines.resized_picture import ResizedPicture, picture_cost, resized_picture
from enginecrate.values import Array, PipelineSpec, Tensors, TensorSpec

__all__ = ["Geometry", "ImageInput"]

_WITHOUT_BATCH = ("detection", "image")
"""Tasks whose models may take one image [channels,height,width], as torchvision exports them."""


@dataclass(frozen=True, slots=True)
class ImageInput:
    """Decodes, resizes and normalises images for one model input. Thread-safe.

    height, width: of the model's input, in pixels; -1 where they follow the photo
        (`resize = "proportional"`).
    constants: for the model's other inputs.
    """

    spec: PipelineSpec
    tensor: TensorSpec
    height: int
    width: int
    limits: Limits
    normalizer: Normalizer
    constants: Mapping[str, Array] = field(default_factory=dict)

    @classmethod
    def create(cls, spec: PipelineSpec, inputs: Sequence[TensorSpec], limits: Limits) -> ImageInput:
        """Check a pipeline against the model's inputs.

        Args:
            spec: the `[pipeline]` section.
            inputs: the model's inputs. Those without the image's take the section's
                `constants`. A pipeline of the ISV's own that fills them itself gives the
                image's only.
            limits: what an image may cost.

        Raises:
            PipelineInvalid: the two do not fit; the message names the key and the cure.
        """
        tensor = _image_tensor(spec, inputs)
        height, width = _size(spec, tensor)
        _check_resize_keys(spec, height, width)
        normalizer = Normalizer.create(spec, tensor.datatype)
        others = [other for other in inputs if other.name != tensor.name]
        constants = constant_arrays(spec, others, (height, width))
        return cls(spec, tensor, height, width, limits, normalizer, constants)

    def prepare(self, payload: bytes | memoryview) -> tuple[Tensors, Geometry]:
        """Turn an encoded image into the model's input.

        Returns:
            The inputs by their names, C-contiguous and with a batch dimension of 1 in front,
            unless the model's image has none; and the geometry that maps boxes back with
            `Geometry.boxes_to_image`.

        Raises:
            ImageUndecodable: the image is damaged.
            ImageTooLarge: it has more bytes or pixels than `limits` allows.
            ImageFormatUnsupported: it is not JPEG, PNG, WebP or BMP.
        """
        return self.tensors(self.picture(payload))

    def picture(self, payload: bytes | memoryview) -> ResizedPicture:
        """The costly part of `prepare`: decode and resize."""
        return resized_picture(payload, self.spec, (self.width, self.height), self.limits)

    def tensors(self, picture: ResizedPicture) -> tuple[Tensors, Geometry]:
        """The rest of `prepare`: numbers, layout and datatype."""
        placement = picture.placement
        size = (
            self.width if self.width > 0 else placement.width,
            self.height if self.height > 0 else placement.height,
        )
        tensor = self.normalizer.write(picture.image, placement, size)
        if len(self.tensor.shape) == 3:
            tensor = tensor[0]
        return {self.tensor.name: tensor, **self.constants}, placement.geometry

    def cost(self, payload: bytes | memoryview) -> DecodeCost:
        """The cost of `prepare`, from the header alone."""
        return picture_cost(payload, self.spec, (self.width, self.height), self.limits)


def _image_tensor(spec: PipelineSpec, inputs: Sequence[TensorSpec]) -> TensorSpec:
    names = [tensor.name for tensor in inputs]
    if spec.input is not None and spec.input not in names:
        raise PipelineInvalid(
            f"[pipeline] input = {spec.input!r}: the model has no such input"
            f"{nearest(spec.input, names)}. It has {', '.join(names) or 'none'}"
        )
    free = [tensor for tensor in inputs if tensor.name not in spec.constants]
    if spec.input is not None:
        free = [tensor for tensor in inputs if tensor.name == spec.input]
    elif len(free) > 1:
        ranks = [len(tensor.shape) for tensor in free]
        image_rank = 4 if 4 in ranks else 3
        free = [tensor for tensor in free if len(tensor.shape) == image_rank] or free
    if len(free) == 1:
        return free[0]
    listed = ", ".join(map(str, free or inputs)) or "no inputs at all"
    why = "several may be it" if free else "constants leave none"
    raise PipelineInvalid(
        f"[pipeline] task = {spec.task!r} fills one image input, and {why}: {listed}; name it, "
        f"for example: input = {json.dumps((names or ['image'])[0])}"
    )


def _size(spec: PipelineSpec, tensor: TensorSpec) -> tuple[int, int]:
    """Height and width of the model's input."""
    if len(tensor.shape) == 3 and spec.task in _WITHOUT_BATCH:
        tensor = TensorSpec(tensor.name, tensor.datatype, (1, *tensor.shape))
    if len(tensor.shape) != 4:
        raise PipelineInvalid(
            f"[pipeline] task = {spec.task!r} needs an image input of 4 dimensions (batch, and "
            f"channels, height, width in the order of layout); the model's is {tensor}: export "
            'it with a batch dimension, or use task = "tensors"'
        )
    if tensor.shape[0] not in (-1, 1):
        raise PipelineInvalid(
            f"the model's input {tensor} has a fixed batch of {tensor.shape[0]}; export the model "
            "with a dynamic batch, or a batch of 1"
        )
    _check_channels(spec, tensor)
    height, width = tensor.shape[2:] if spec.layout == "nchw" else tensor.shape[1:3]
    if spec.size is None:
        if min(height, width) < 1 and spec.resize != "proportional":
            raise PipelineInvalid(
                f"the model's input {tensor} leaves height and width open; say in [pipeline] "
                'which to use, for example size = [640, 640], or resize = "proportional" to let '
                "the model's input follow the photo"
            )
        return height, width
    for key, own, chosen in zip(("height", "width"), (height, width), spec.size, strict=True):
        if own not in (-1, chosen):
            raise PipelineInvalid(
                f"[pipeline] size = {list(spec.size)} asks for a {key} of {chosen}, and the "
                f"model's input {tensor} has {own}; leave size out"
            )
    return spec.size


def _check_channels(spec: PipelineSpec, tensor: TensorSpec) -> None:
    channels = 1 if spec.color == "gray" else 3
    here, there = (1, 3) if spec.layout == "nchw" else (3, 1)
    if tensor.shape[here] in (-1, channels):
        return
    if tensor.shape[there] in (1, 3) and tensor.shape[here] > 4:
        other = "nhwc" if spec.layout == "nchw" else "nchw"
        raise PipelineInvalid(
            f"[pipeline] layout = {spec.layout!r} makes {tensor.shape[here]} channels of the "
            f'model\'s input {tensor}; set layout = "{other}"'
        )
    cures = {1: 'set color = "gray"', 3: 'set color = "rgb" or "bgr"'}
    raise PipelineInvalid(
        f"[pipeline] color = {spec.color!r} gives {channels} channel{'s' if channels > 1 else ''}, "
        f"and the model's input {tensor} has {tensor.shape[here]}; "
        + cures.get(tensor.shape[here], "write a pipeline of your own ([pipeline] module)")
    )


def _check_resize_keys(spec: PipelineSpec, height: int, width: int) -> None:
    """Keys that only some ways to resize have."""
    proportional = spec.resize == "proportional"
    given = {"long_side": spec.long_side is not None, "multiple": spec.multiple != 1}
    for key in [key for key, is_set in given.items() if is_set and not proportional]:
        raise PipelineInvalid(
            f"[pipeline] {key} is for resize = 'proportional', and resize is {spec.resize!r}; "
            "remove one of them"
        )
    if proportional and min(height, width) > 0:
        raise PipelineInvalid(
            "[pipeline] resize = 'proportional' lets the model's input follow the photo, and "
            f"{'size' if spec.size else 'the model'} fixes it to {height}x{width}; choose "
            "stretch or letterbox" + (", or remove size" if spec.size else "")
        )
    if spec.short_side is None or proportional:
        return
    if spec.resize != "short_side_crop":
        raise PipelineInvalid(
            "[pipeline] short_side is for resize = 'short_side_crop' or 'proportional', and "
            f"resize is {spec.resize!r}; remove one of them"
        )
    if spec.short_side < max(height, width):
        raise PipelineInvalid(
            f"[pipeline] short_side = {spec.short_side} is less than the model's "
            f"{width}x{height} pixels, which the crop must fill; use at least "
            f"{max(height, width)}"
        )
