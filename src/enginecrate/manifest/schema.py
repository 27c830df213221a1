"""The manifest's schema, as types."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from enginecrate.values import PipelineSpec, Precision

__all__ = [
    "Accuracy",
    "App",
    "Calibration",
    "Image",
    "Listing",
    "Manifest",
    "Model",
    "PrecisionSection",
    "Serve",
    "Targets",
    "json_schema",
]

Meta = msgspec.Meta
Shape = tuple[Annotated[int, Meta(ge=1)], ...]
ProfileSection = dict[str, Annotated[list[Shape], Meta(min_length=3, max_length=3)]]


class App(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the vendor sells."""

    name: Annotated[
        str,
        Meta(
            pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$",
            description="Name of the app and of its v2 model: lower-case letters, digits, dashes",
            examples=["ai-inspection"],
        ),
    ]
    version: Annotated[
        str,
        Meta(
            pattern=r"^\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?$",
            description="Version as in semantic versioning",
            examples=["1.2.0"],
        ),
    ]
    vendor: Annotated[str, Meta(description="Who sells it", examples=["isv"])] = ""
    summary: Annotated[str, Meta(max_length=200, description="One sentence for the store")] = ""
    license: Annotated[str, Meta(description="SPDX licence expression")] = ""


class Model(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The ONNX model."""

    path: Annotated[
        str,
        Meta(
            min_length=1,
            description="ONNX file, relative to the manifest",
            examples=["models/detector.onnx"],
        ),
    ]
    profiles: Annotated[
        list[ProfileSection],
        Meta(description="For each dynamic input its min, opt and max shape"),
    ] = []


class Calibration(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where INT8 scales come from."""

    images: Annotated[str, Meta(description="Folder of photos, relative to the manifest")]
    method: Annotated[
        Literal["minmax", "entropy", "percentile"], Meta(description="How scales are chosen")
    ] = "minmax"


class Accuracy(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a plan must still get right."""

    golden: Annotated[str, Meta(description="Folder of golden samples")] = "golden/"
    min_agreement: Annotated[
        float, Meta(ge=0, le=1, description="Least share of results that agree with FP32")
    ] = 0.95


class PrecisionSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The arithmetic of the plans."""

    mode: Annotated[
        Literal["fp32", "fp16", "bf16", "int8", "fp8"], Meta(description="Precision of the plans")
    ] = "fp32"
    calibration: Calibration | None = None
    accuracy: Accuracy = Accuracy()

    @property
    def precision(self) -> Precision:
        return Precision(self.mode)


class Targets(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What plans are built for."""

    stacks: Annotated[
        tuple[str, ...], Meta(min_length=1, description="Stacks by name", examples=[["ort-cpu"]])
    ] = ("ort-cpu",)
    gpus: Annotated[tuple[str, ...], Meta(description="GPU models by name", examples=[["L4"]])] = ()


class Serve(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How the server runs the engine."""

    max_queue_delay_ms: Annotated[
        float,
        Meta(ge=0, le=1000, description="Longest wait for a fuller batch while engines are busy"),
    ] = 0.0
    instances: Annotated[int, Meta(ge=1, le=64, description="Engines that run at once")] = 1
    max_batch: (
        Annotated[int, Meta(ge=1, description="Largest batch; default: the engine's own")] | None
    ) = None


class Image(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The OCI image."""

    repository: Annotated[
        str,
        Meta(
            min_length=1,
            description="Where it is pushed",
            examples=["registry.example.com/isv/ai-inspection"],
        ),
    ]


class Listing(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the store shows."""

    description: Annotated[str, Meta(description="Markdown file")] | None = None
    icon: Annotated[str, Meta(description="PNG file")] | None = None


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The whole of `enginecrate.toml`."""

    app: App
    model: Model
    pipeline: PipelineSpec
    precision: PrecisionSection = PrecisionSection()
    targets: Targets = Targets()
    serve: Serve = Serve()
    image: Image | None = None
    listing: Listing | None = None


def json_schema() -> dict[str, Any]:
    """The manifest's JSON Schema, draft 2020-12."""
    (reference,), components = msgspec.json.schema_components(
        [Manifest], ref_template="#/$defs/{name}"
    )
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "enginecrate.toml",
        **reference,
        "$defs": components,
    }
