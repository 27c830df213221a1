"""From an encoded image to the tensor that a model takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from enginecrate.errors import PipelineInvalid, nearest
from enginecrate.pipelines.base import Limits
from enginecrate.pipelines.decode import EncodedImage, Mode
from enginecrate.pipelines.geometry import Geometry
from enginecrate.pipelines.normalize import Normalizer
from enginecrate.pipelines.placement import place
from enginecrate.pipelines.resize import enough, resize
from enginecrate.values import PipelineSpec, Tensors, TensorSpec

__all__ = ["Geometry", "ImageInput"]


@dataclass(frozen=True, slots=True)
class ImageInput:
    """Decodes, resizes and normalises images for one model input. Thread-safe.

    height, width: of the model's input, in pixels.
    """

    spec: PipelineSpec
    tensor: TensorSpec
    height: int
    width: int
    limits: Limits
    normalizer: Normalizer

    @classmethod
    def create(cls, spec: PipelineSpec, inputs: Sequence[TensorSpec], limits: Limits) -> ImageInput:
        """Check a pipeline against the model's inputs.

        Args:
            spec: the `[pipeline]` section.
            inputs: the model's inputs. A pipeline of the ISV's own, whose model has more than
                one, gives the image's only.
            limits: what an image may cost.

        Raises:
            PipelineInvalid: the two do not fit; the message names the key and the cure.
        """
        tensor = _image_tensor(spec, inputs)
        height, width = _size(spec, tensor)
        _check_short_side(spec, height, width)
        normalizer = Normalizer.create(spec, tensor.datatype)
        return cls(spec, tensor, height, width, limits, normalizer)

    def prepare(self, payload: bytes | memoryview) -> tuple[Tensors, Geometry]:
        """Turn an encoded image into the model's input.

        Returns:
            The input by its name, with a batch dimension of 1 in front and C-contiguous; and
            the geometry that maps boxes back with `Geometry.boxes_to_image`.

        Raises:
            ImageUndecodable: the image is damaged.
            ImageTooLarge: it has more bytes or pixels than `limits` allows.
            ImageFormatUnsupported: it is not JPEG, PNG, WebP or BMP.
        """
        encoded = EncodedImage.read(payload, self.limits)
        placement = place(self.spec, encoded.size, (self.width, self.height))
        mode: Mode = "L" if self.spec.color == "gray" else "RGB"
        stored = encoded.decode(mode, enough(placement, self.spec.interpolation))
        image = resize(stored, encoded.orientation, placement, self.spec.interpolation)
        tensor = self.normalizer.write(image, placement, (self.width, self.height))
        return {self.tensor.name: tensor}, placement.geometry


def _image_tensor(spec: PipelineSpec, inputs: Sequence[TensorSpec]) -> TensorSpec:
    names = [tensor.name for tensor in inputs]
    if spec.input is not None and spec.input not in names:
        raise PipelineInvalid(
            f"[pipeline] input = {spec.input!r}: the model has no such input"
            f"{nearest(spec.input, names)}. It has {', '.join(names) or 'none'}"
        )
    if len(inputs) != 1:
        others = ", ".join(str(tensor) for tensor in inputs if tensor.name != spec.input)
        raise PipelineInvalid(
            f"[pipeline] task = {spec.task!r} fills one image input, and the model has "
            f"{len(inputs)} inputs (left unfilled: {others or 'all'}); write a pipeline of your "
            "own that fills them and name it in [pipeline] module "
            "(`enginecrate init --template custom` shows one)"
        )
    return inputs[0]


def _size(spec: PipelineSpec, tensor: TensorSpec) -> tuple[int, int]:
    """Height and width of the model's input."""
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
        if height < 1 or width < 1:
            raise PipelineInvalid(
                f"the model's input {tensor} leaves height and width open; say in [pipeline] "
                "which to use, for example size = [640, 640]"
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


def _check_short_side(spec: PipelineSpec, height: int, width: int) -> None:
    if spec.short_side is None:
        return
    if spec.resize != "short_side_crop":
        raise PipelineInvalid(
            f"[pipeline] short_side is for resize = 'short_side_crop', and resize is "
            f"{spec.resize!r}; remove one of them"
        )
    if spec.short_side < max(height, width):
        raise PipelineInvalid(
            f"[pipeline] short_side = {spec.short_side} is less than the model's "
            f"{width}x{height} pixels, which the crop must fill; use at least "
            f"{max(height, width)}"
        )
