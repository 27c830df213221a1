"""Small typed values that every package shares."""

from __future__ import annotations

import hashlib
import platform
import re
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import ml_dtypes
import msgspec
import numpy as np
import numpy.typing as npt

__all__ = [
    "Array",
    "ComputeCapability",
    "DataType",
    "Digest",
    "GpuModel",
    "ImageRef",
    "LayerPrecision",
    "PipelineSpec",
    "PlanInfo",
    "Precision",
    "Profile",
    "Progress",
    "TensorSpec",
    "Tensors",
    "canonical_name",
    "current_platform",
    "no_progress",
    "platform_name",
]

_ARCHITECTURES = {"x86_64": "amd64", "AMD64": "amd64", "aarch64": "arm64"}

Array = npt.NDArray[Any]
"""An array of any shape; its dtype is one of `DataType`."""

Tensors = Mapping[str, Array]
"""Named arrays. BYTES tensors are object arrays of `bytes`."""

Profile = Mapping[str, tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]]
"""An optimization profile: for each dynamic input its min, opt and max shape."""

Progress = Callable[[str, int, int], None]
"""Called as `progress(step, done, total)`; `total` is 0 while it is unknown."""


def no_progress(step: str, done: int, total: int) -> None:
    """A `Progress` that shows nothing."""


def canonical_name(name: str) -> str:
    """A Python package's name as indexes compare it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


class DataType(StrEnum):
    """Tensor datatypes, named as in the Open Inference Protocol v2, "Tensor Data Types"."""

    BOOL = "BOOL"
    UINT8 = "UINT8"
    UINT16 = "UINT16"
    UINT32 = "UINT32"
    UINT64 = "UINT64"
    INT8 = "INT8"
    INT16 = "INT16"
    INT32 = "INT32"
    INT64 = "INT64"
    FP16 = "FP16"
    BF16 = "BF16"
    FP32 = "FP32"
    FP64 = "FP64"
    BYTES = "BYTES"

    @property
    def numpy(self) -> np.dtype[Any]:
        """The little-endian NumPy dtype; `object` for BYTES."""
        return _TO_NUMPY[self]

    @classmethod
    def of(cls, dtype: npt.DTypeLike) -> DataType:
        """The datatype of a NumPy dtype.

        Raises:
            ValueError: the dtype has no counterpart in the protocol.
        """
        wanted = np.dtype(dtype)
        if wanted.kind in "OSU":
            return cls.BYTES
        for datatype, known in _TO_NUMPY.items():
            if known == wanted:
                return datatype
        raise ValueError(f"no v2 datatype for NumPy dtype {wanted}")


_TO_NUMPY: dict[DataType, np.dtype[Any]] = {
    DataType.BOOL: np.dtype(np.bool_),
    DataType.UINT8: np.dtype(np.uint8),
    DataType.UINT16: np.dtype(np.uint16),
    DataType.UINT32: np.dtype(np.uint32),
    DataType.UINT64: np.dtype(np.uint64),
    DataType.INT8: np.dtype(np.int8),
    DataType.INT16: np.dtype(np.int16),
    DataType.INT32: np.dtype(np.int32),
    DataType.INT64: np.dtype(np.int64),
    DataType.FP16: np.dtype(np.float16),
    DataType.BF16: np.dtype(ml_dtypes.bfloat16),
    DataType.FP32: np.dtype(np.float32),
    DataType.FP64: np.dtype(np.float64),
    DataType.BYTES: np.dtype(object),
}


class Precision(StrEnum):
    """The arithmetic of a plan. `MIXED`: more than one, listed layer by layer."""

    FP32 = "fp32"
    FP16 = "fp16"
    BF16 = "bf16"
    INT8 = "int8"
    FP8 = "fp8"
    MIXED = "mixed"


class ComputeCapability(NamedTuple):
    """A GPU's compute capability (CUDA C++ Programming Guide, section "Compute Capabilities").

    In data files and JSON it is a pair, `[8, 6]`.
    """

    major: int
    minor: int

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}"

    @property
    def sm(self) -> str:
        """The name of a plan's device, for example `sm86`."""
        return f"sm{self.major}{self.minor}"

    @classmethod
    def parse(cls, text: str) -> ComputeCapability:
        """Read `8.6`, `86`, `sm86` or `sm_86`. Raises `ValueError`."""
        found = _CAPABILITY.fullmatch(text.strip().lower())
        if found is None:
            raise ValueError(f"not a compute capability: {text!r}")
        return cls(int(found[1]), int(found[2]))


_CAPABILITY = re.compile(r"(?:sm_?)?(\d{1,2})\.?(\d)")


class GpuModel(msgspec.Struct, frozen=True, kw_only=True):
    """A GPU that customers own. `memory_gib`: the sizes it is sold with, smallest first."""

    name: str
    compute_capability: ComputeCapability
    architecture: str
    memory_gib: tuple[int, ...]
    aliases: tuple[str, ...] = ()
    source: str = ""


class TensorSpec(msgspec.Struct, frozen=True):
    """A tensor's name, datatype and shape; `-1` stands for a dynamic dimension."""

    name: str
    datatype: DataType
    shape: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.name} {self.datatype} [{','.join(map(str, self.shape))}]"


class Digest(str):
    """`sha256:<64 hex digits>`, as in the OCI image specification, section "Digests"."""

    __slots__ = ()
    _PATTERN = re.compile(r"sha256:[0-9a-f]{64}")

    def __new__(cls, value: str) -> Digest:
        """Raises `ValueError` when `value` is not a sha256 digest."""
        if not cls._PATTERN.fullmatch(value):
            raise ValueError(f"not a sha256 digest: {value!r}")
        return super().__new__(cls, value)

    @property
    def hex(self) -> str:
        """The 64 hex digits."""
        return self[7:]

    @property
    def short(self) -> str:
        """The first 12 hex digits, for people."""
        return self[7:19]

    @classmethod
    def of(cls, data: bytes | memoryview) -> Digest:
        """The digest of bytes in memory."""
        return cls("sha256:" + hashlib.sha256(data).hexdigest())

    @classmethod
    def of_file(cls, path: Path) -> Digest:
        """The digest of a file, read in pieces. Raises `OSError`."""
        with path.open("rb") as file:
            return cls("sha256:" + hashlib.file_digest(file, "sha256").hexdigest())


Meta = msgspec.Meta
PositiveInt = Annotated[int, Meta(ge=1)]
Side = Annotated[int, Meta(ge=1, le=16384)]
Channels = Annotated[tuple[float, ...], Meta(min_length=1, max_length=3)]
Constant = bool | int | float | list[Any]
"""A value for a model's input, as the manifest writes it."""


class PipelineSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Pre- and post-processing around an engine: the `[pipeline]` section of the manifest.

    A pixel value `x` in 0..255 enters the model as `(x - mean) / std`, channel by channel,
    in the order of `color`.
    """

    task: Annotated[
        Literal["classification", "detection", "image", "tensors"],
        Meta(
            description="What the app answers; `image`: a photo in, the model's raw outputs out; "
            "`tensors`: tensors in, the raw outputs out"
        ),
    ]
    module: (
        Annotated[
            str,
            Meta(
                pattern=r"^[^:]+:[A-Za-z_]\w*$",
                description="The vendor's own pipeline class, as file:Class, in the project folder",
                examples=["inspection:Pipeline"],
            ),
        ]
        | None
    ) = None
    stateless: Annotated[
        bool,
        Meta(
            description="The vendor's own class keeps nothing from one photo to the next, so that "
            "several processes may run it at once (setting `frontends`)"
        ),
    ] = False
    input: (
        Annotated[
            str,
            Meta(
                description="Model input that takes the image; needed when several have no constant"
            ),
        ]
        | None
    ) = None
    constants: Annotated[
        dict[str, Constant],
        Meta(
            description="Values for the model's other inputs, each a number or a (nested) list; "
            "datatype and shape are the input's",
            examples=[{"scale_factor": [[1.0, 1.0]]}],
        ),
    ] = {}
    labels: (
        Annotated[
            str,
            Meta(
                description="File of class names: one a line, or as other tools write it; see "
                "docs/pipelines.md"
            ),
        ]
        | None
    ) = None
    color: Annotated[
        Literal["rgb", "bgr", "gray"],
        Meta(description="Order of the channels in the model's input"),
    ] = "rgb"
    resize: Annotated[
        Literal["stretch", "letterbox", "short_side_crop", "proportional"],
        Meta(
            description="How a photo is brought to the model's height and width; `proportional`: "
            "the model's open sides follow the photo"
        ),
    ] = "stretch"
    size: (
        Annotated[
            tuple[Side, Side],
            Meta(description="Height and width; needed only when the model leaves them dynamic"),
        ]
        | None
    ) = None
    short_side: (
        Annotated[
            int,
            Meta(
                ge=1,
                le=16384,
                description="short_side_crop: the short side, in pixels, before the crop; "
                "proportional: the short side; default: the photo's own",
            ),
        ]
        | None
    ) = None
    long_side: (
        Annotated[
            int,
            Meta(
                ge=1,
                le=16384,
                description="proportional: most pixels of the long side; default: 2048",
            ),
        ]
        | None
    ) = None
    multiple: Annotated[
        int,
        Meta(
            ge=1,
            le=16384,
            description="proportional: each open side is rounded to a multiple of this",
        ),
    ] = 1
    interpolation: Annotated[
        Literal["nearest", "bilinear", "bicubic", "area"], Meta(description="Filter of the resize")
    ] = "bilinear"
    pad_value: Annotated[
        int, Meta(ge=0, le=255, description="letterbox: the grey of the border")
    ] = 114
    mean: Annotated[Channels, Meta(description="Subtracted from pixel values in 0..255")] = (
        0.0, 0.0, 0.0,
    )  # fmt: skip
    std: Annotated[Channels, Meta(description="Divides after mean is subtracted")] = (
        1.0, 1.0, 1.0,
    )  # fmt: skip
    layout: Annotated[
        Literal["nchw", "nhwc"], Meta(description="Order of the input's dimensions")
    ] = "nchw"
    activation: Annotated[
        Literal["softmax", "sigmoid", "none"],
        Meta(description="classification: what turns the model's output into scores"),
    ] = "softmax"
    top_k: Annotated[
        int, Meta(ge=1, le=100_000, description="classification: classes in an answer")
    ] = 5
    decoder: (
        Annotated[
            str,
            Meta(description="detection: the decoder for the model's outputs", examples=["yolo"]),
        ]
        | None
    ) = None
    decoder_options: Annotated[
        dict[str, Any], Meta(description="Options of the decoder; see docs/pipelines.md")
    ] = {}
    score_threshold: Annotated[
        float, Meta(ge=0, le=1, description="detection: least score of an answer")
    ] = 0.4
    iou_threshold: Annotated[
        float, Meta(ge=0, le=1, description="detection: overlap above which a box is suppressed")
    ] = 0.5
    class_agnostic: Annotated[
        bool, Meta(description="detection: suppress boxes of other classes, too")
    ] = False
    max_detections: Annotated[
        int, Meta(ge=1, le=100_000, description="detection: boxes in an answer")
    ] = 100


class LayerPrecision(msgspec.Struct, frozen=True):
    """The arithmetic of one node that multiplies (Conv, Gemm, MatMul ...).

    macs: its multiply-adds for one sample; 0 when unknown.
    """

    node: str
    operator: str
    precision: Precision
    macs: int = 0


class PlanInfo(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A plan's sidecar: who built it, from what, for what. It holds no times (evidence does)."""

    format: int = 2
    backend: str
    backend_version: str
    tool_version: str
    stack: str
    platform: str
    """Operating system and architecture, for example `linux/amd64`."""
    device: str
    """The kind of device that the plan is for: `cpu`, or a compute capability such as `sm86`."""
    model_digest: str
    """Digest of the model file that the user gave."""
    graph_digest: str
    """Digest of the ONNX graph that the backend compiled, after simplification and typing."""
    plan_digest: str
    plan_bytes: int
    files: dict[str, str] = {}
    """Digests of the plan's other files by their names beside it, for example of its weights."""
    precision: Precision
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    max_batch: int
    """Largest batch; 0 when the first dimension is not a batch."""
    profiles: Sequence[dict[str, tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]]] = ()
    options: dict[str, str | int | float | bool] = {}
    layers: tuple[LayerPrecision, ...] = ()
    """Precision layer by layer; filled when the graph is typed (every precision but fp32)."""
    calibration_digest: str = ""
    """Digest of the calibration table that the scales came from."""
    gpu_name: str = ""
    """The GPU that it was built on; empty when none was needed."""
    hardware_compatibility: Literal["none", "ampere_plus", "same_compute_capability"] = "none"
    version_compatible: bool = False
    """Newer versions of the backend run it, too."""
    weights: Literal["full", "stripped"] = "full"
    """`stripped`: the weights come from the ONNX graph when the plan is loaded (refit)."""
    timing_cache_digest: str = ""
    """Digest of the timing cache that the builder ended with."""
    notes: tuple[str, ...] = ()
    """Remarks of the builder, one sentence each: layers, memory, warnings."""


class ImageRef(msgspec.Struct, frozen=True):
    """`registry/repository[:tag][@digest]`.

    Source: the grammar of the reference package of the CNCF distribution project.
    """

    registry: str
    """Host, and port if any: `registry.example.com:5000`."""
    repository: str
    tag: str = ""
    digest: str = ""

    _PATTERN = re.compile(
        r"(?P<registry>(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9a-fA-F:]+\])(?::\d+)?)/"
        r"(?P<repository>[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
        r"(?:/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)*)"
        r"(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?"
    )

    @classmethod
    def parse(cls, text: str) -> ImageRef:
        """Raises `ValueError` unless `text` names a registry (its host has a dot, a port, or is
        `localhost`) and a repository in lower case.
        """
        found = cls._PATTERN.fullmatch(text)
        host = found["registry"] if found else ""
        if not found or not (set(host) & set(".:") or host == "localhost"):
            raise ValueError(f"not an image reference: {text!r}")
        return cls(host, found["repository"], found["tag"] or "", found["digest"] or "")

    @property
    def name(self) -> str:
        """Without tag and digest."""
        return f"{self.registry}/{self.repository}"

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        return f"{self.name}{tag}{'@' + self.digest if self.digest else ''}"


def current_platform() -> str:
    """Operating system and processor of this machine, as `platform_name`."""
    return platform_name(platform.system(), platform.machine())


def platform_name(system: str, machine: str) -> str:
    """As the OCI image specification names it: `linux/amd64` for `Linux` and `x86_64`."""
    return f"{system.lower()}/{_ARCHITECTURES.get(machine, machine)}"
