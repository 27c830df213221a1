"""The manifest's schema, as types."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from enginecrate.values import PipelineSpec, Precision

__all__ = [
    "Accuracy",
    "App",
    "Build",
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
Shape = tuple[Annotated[int, Meta(ge=1, le=2**31 - 1)], ...]
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
            pattern=r"^[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z-]+(\.[0-9A-Za-z-]+)*)?$",
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
    percentile: Annotated[
        float,
        Meta(gt=90, le=100, description="percentile: share of values, in %, that the range covers"),
    ] = 99.99
    max_images: Annotated[
        int,
        Meta(ge=1, le=1_000_000, description="Most photos that are used; they are chosen evenly"),
    ] = 1000


class Accuracy(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a plan must still get right."""

    golden: Annotated[str, Meta(description="Folder of golden samples")] = "golden/"
    min_agreement: Annotated[
        float, Meta(ge=0, le=1, description="Least share of results that agree with FP32")
    ] = 0.95
    images: (
        Annotated[
            str,
            Meta(
                description="Folder of photos for the accuracy check, none of them used for "
                "calibration; without it a fifth of the calibration photos is held out"
            ),
        ]
        | None
    ) = None
    labelled: (
        Annotated[
            str,
            Meta(
                description="Photos with the truth: a folder with one folder for each class, or a "
                "COCO JSON file beside its images"
            ),
        ]
        | None
    ) = None
    max_drop: Annotated[
        float,
        Meta(ge=0, le=1, description="labelled: most that top-1 or mAP may fall below FP32"),
    ] = 0.005


class PrecisionSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The arithmetic of the plans."""

    mode: Annotated[
        Literal["fp32", "fp16", "bf16", "int8", "fp8"], Meta(description="Precision of the plans")
    ] = "fp32"
    calibration: Calibration | None = None
    accuracy: Accuracy = Accuracy()
    allow_mixed: Annotated[
        bool,
        Meta(
            description="Keep single layers in a higher precision when accuracy or a GPU needs it"
        ),
    ] = True

    accept_few: Annotated[
        bool,
        Meta(
            description="int8 and fp8: accept an agreement that few photos show; without it the "
            "lower end of its 95 % interval must reach min_agreement, on 20 photos or more"
        ),
    ] = False

    @property
    def precision(self) -> Precision:
        return Precision(self.mode)


class Targets(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What plans are built for."""

    stacks: Annotated[
        tuple[str, ...], Meta(min_length=1, description="Stacks by name", examples=[["ort-cpu"]])
    ] = ("ort-cpu",)
    gpus: Annotated[
        tuple[str, ...],
        Meta(description="GPU models by name, or compute capabilities", examples=[["L4", "8.6"]]),
    ] = ()
    precisions: Annotated[
        tuple[Literal["fp32", "fp16", "bf16", "int8", "fp8"], ...],
        Meta(description="Every precision to build; default: precision.mode alone"),
    ] = ()


class Build(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How TensorRT builds; other backends leave it aside."""

    workspace_mib: Annotated[
        int,
        Meta(ge=0, le=2**20, description="Most GPU memory for one layer's scratch; 0: no limit"),
    ] = 0
    optimization_level: Annotated[
        int, Meta(ge=0, le=5, description="How long the builder searches: 0 least, 5 most")
    ] = 3
    version_compatible: Annotated[
        bool, Meta(description="Let newer versions of TensorRT run the plan")
    ] = False
    hardware_compatibility: Annotated[
        Literal["none", "ampere_plus", "same_compute_capability"],
        Meta(description="Let other GPUs run the plan"),
    ] = "none"
    strip_weights: Annotated[
        bool, Meta(description="Leave the weights out of the plan; they come from the ONNX graph")
    ] = False


class Serve(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How the server runs the engine."""

    max_queue_delay_ms: Annotated[
        float,
        Meta(ge=0, le=1000, description="Longest wait for a fuller batch while engines are busy"),
    ] = 0.0
    instances: Annotated[int, Meta(ge=1, le=64, description="Engines that run at once")] = 1
    max_batch: (
        Annotated[int, Meta(ge=1, le=65536, description="Largest batch; default: the engine's own")]
        | None
    ) = None


class Image(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The OCI image. What it needs is resolved by `enginecrate lock`."""

    repository: Annotated[
        str,
        Meta(
            description="Where it is pushed; without a tag",
            examples=["registry.example.com/isv/ai-inspection"],
        ),
    ] = ""
    aliases: Annotated[
        bool,
        Meta(
            description="Also give it the moving tags `v1.2-STACK` and `v1.2`, beside its own "
            "`v1.2.0-STACK`, which never moves"
        ),
    ] = True
    compression: Annotated[
        Literal["zstd", "gzip"],
        Meta(description="Of the layers; gzip for Docker before 23.0 and containerd before 1.5"),
    ] = "zstd"
    packages: Annotated[
        tuple[str, ...],
        Meta(
            description="Python packages that a module of your own needs, each with one version",
            examples=[["shapely==2.1.2"]],
        ),
    ] = ()
    debs: Annotated[
        tuple[str, ...],
        Meta(description="Debian packages beside those of the base", examples=[["libgomp1"]]),
    ] = ()
    files: Annotated[
        tuple[str, ...],
        Meta(
            description="More files and folders of the project to put beside the model",
            examples=[["data/zones.json"]],
        ),
    ] = ()
    source: Annotated[
        str,
        Meta(
            description="Address of the source code, for the image's annotations",
            examples=["https://git.example.com/isv/ai-inspection"],
        ),
    ] = ""
    base: Annotated[
        str, Meta(description="The distribution that it stands on", examples=["debian-12"])
    ] = "debian-12"
    base_image: Annotated[
        str,
        Meta(
            description="For Jetson stacks: the vendor's image, by its digest; in an OCI layout "
            "as oci:FOLDER@sha256:...",
            examples=["registry.example.com/jetpack@sha256:..."],
        ),
    ] = ""


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
    build: Build = Build()
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
