"""From pixels to the numbers that a model takes: `(x - mean) / std`, order, layout, dtype."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from enginecrate.errors import PipelineInvalid
from enginecrate.pipelines.placement import Placement
from enginecrate.values import Array, DataType, PipelineSpec

__all__ = ["IMAGE_DATATYPES", "Normalizer"]

_FLOATS = (DataType.FP16, DataType.BF16, DataType.FP32, DataType.FP64)
_INTEGERS = (DataType.UINT8, DataType.INT8, DataType.UINT16, DataType.INT16, DataType.INT32)
IMAGE_DATATYPES = _FLOATS + _INTEGERS
"""The datatypes that an image can be turned into."""


@dataclass(frozen=True, slots=True)
class Normalizer:
    """Writes 8-bit images into tensors. Thread-safe.

    mean, std: (C,), in the dtype of the arithmetic.
    table: (C, 256), the model's number for each channel and pixel value. As a pixel has only
        256 values, one look-up does the arithmetic, the rounding and the cast for every dtype.
    reverse: the model's channels are in the order blue, green, red.
    planar: each channel is a plane of its own (NCHW).
    """

    mean: Array
    std: Array
    table: Array
    reverse: bool
    planar: bool
    pad_value: int

    @classmethod
    def create(cls, spec: PipelineSpec, datatype: DataType) -> Normalizer:
        """Compute the table of a pipeline.

        Raises:
            PipelineInvalid: mean and std do not fit the number of channels or the datatype.
        """
        if datatype not in IMAGE_DATATYPES:
            raise PipelineInvalid(
                f"[pipeline] an image cannot be turned into {datatype}; "
                "export the model with an input of FP32, FP16 or UINT8"
            )
        channels = 1 if spec.color == "gray" else 3
        # In float32, as training code does it: a client's own float32 code gives equal bits.
        work = np.dtype(np.float64 if datatype is DataType.FP64 else np.float32)
        with np.errstate(over="ignore"):  # answered below, by an error
            mean = _per_channel("mean", spec.mean, channels).astype(work)
            std = _per_channel("std", spec.std, channels).astype(work)
        if not np.isfinite([mean, std]).all() or std.min() <= 0:
            raise PipelineInvalid(
                "[pipeline] mean and std must be numbers and std above 0, found mean = "
                f"{list(spec.mean)}, std = {list(spec.std)}"
            )
        pixels = np.arange(256).astype(work)
        return cls(
            mean=mean,
            std=std,
            table=_cast((pixels - mean[:, np.newaxis]) / std[:, np.newaxis], datatype),
            reverse=spec.color == "bgr",
            planar=spec.layout == "nchw",
            pad_value=spec.pad_value,
        )

    def write(self, image: Image.Image, placement: Placement, size: tuple[int, int]) -> Array:
        """Make a tensor of an image.

        Args:
            image: RGB or L, of the placement's width and height.
            placement: where the image goes; the rest gets the border's grey.
            size: width and height of the whole.

        Returns:
            (1, C, H, W) or, when not planar, (1, H, W, C); C-contiguous.
        """
        width, height = size
        channels = len(self.table)
        shape = (channels, height, width) if self.planar else (height, width, channels)
        out = np.empty((1, *shape), self.table.dtype)
        if image.size != size:
            self._fill(out[0])
        rows = slice(placement.top, placement.top + image.height)
        columns = slice(placement.left, placement.left + image.width)
        if out.dtype == self.mean.dtype and not self.planar:
            line = slice(columns.start * channels, columns.stop * channels)
            self._write_rows(image, out[0].reshape(height, -1)[rows, line])
            return out
        planes = image.split()
        for channel, plane in enumerate(planes[::-1] if self.reverse else planes):
            target = out[0, channel] if self.planar else out[0, :, :, channel]
            self._write_plane(np.asarray(plane), channel, target[rows, columns])
        return out

    def _fill(self, out: Array) -> None:
        border = self.table[:, self.pad_value]
        out[:] = border[:, np.newaxis, np.newaxis] if self.planar else border

    def _write_rows(self, image: Image.Image, out: Array) -> None:
        """Write interleaved lines: all channels of a line in one go.

        Args:
            image: RGB or L.
            out: (height, width x C).
        """
        order = "BGR" if self.reverse and image.mode == "RGB" else image.mode
        pixels = np.frombuffer(image.tobytes("raw", order), np.uint8).reshape(image.height, -1)
        np.subtract(pixels, np.tile(self.mean, image.width), out=out)
        np.divide(out, np.tile(self.std, image.width), out=out)

    def _write_plane(self, pixels: Array, channel: int, out: Array) -> None:
        if out.dtype == self.mean.dtype:  # three times as fast as the table
            np.subtract(pixels, self.mean[channel], out=out)
            np.divide(out, self.std[channel], out=out)
        else:  # "clip" only because it lets NumPy write straight into `out`
            np.take(self.table[channel], pixels, out=out, mode="clip")


def _per_channel(key: str, values: tuple[float, ...], channels: int) -> Array:
    if len(values) == channels:
        return np.array(values)
    if len(set(values)) == 1:  # one number for every channel, or the default for a grey image
        return np.full(channels, values[0])
    raise PipelineInvalid(
        f"[pipeline] {key} has {len(values)} numbers and the image has {channels} "
        f"channel{'s' if channels > 1 else ''}; give 1 or {channels}"
    )


def _cast(values: Array, datatype: DataType) -> Array:
    if datatype in _INTEGERS:
        values = np.rint(values)
        limits = np.iinfo(datatype.numpy)
        if values.min() < limits.min or values.max() > limits.max:
            raise PipelineInvalid(
                f"[pipeline] mean and std give values from {values.min():g} to {values.max():g}, "
                f"which {datatype} cannot hold; for a model that normalises by itself leave both "
                "out"
            )
    return values.astype(datatype.numpy)
