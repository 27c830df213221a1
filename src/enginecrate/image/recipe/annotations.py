"""Annotations of an image, by which a host can say yes or no before it pulls.

`org.opencontainers.image.*` are those of the OCI Image Format Specification 1.1 (annotations.md).
Ours begin with `io.enginecrate.`; docs/image.md has a table of them. They stand on the manifest
and, as labels, in the configuration.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from enginecrate.errors import ImageInvalid
from enginecrate.image.recipe.config import HTTP_PORT
from enginecrate.image.recipe.plans import ImagePlan
from enginecrate.manifest import Manifest
from enginecrate.stacks.catalog import Stack
from enginecrate.values import ComputeCapability

__all__ = [
    "BASE_LAYERS",
    "OURS",
    "EngineNote",
    "Requirements",
    "app_annotations",
    "engine_notes",
    "estimate_gpu_memory",
    "index_annotations",
    "label_annotations",
    "read_requirements",
    "requirement_annotations",
]

OURS = "io.enginecrate."
_OCI = "org.opencontainers.image."

BASE_LAYERS = f"{OURS}base-layers"
"""The number of layers, lowest first, that are those of the vendor's image below."""

_DOWNLOAD = f"{OURS}download-bytes"

_OF_ONE_PLATFORM = {
    f"{OURS}{name}" for name in ("disk-bytes", "download-bytes", "engines", "gpu-memory-bytes")
}

_CONTEXT_BYTES = 512 * 2**20
"""A CUDA context with the libraries' kernels takes 300 to 600 MiB on the GPUs that we know."""


@dataclass(frozen=True, slots=True, order=True)
class EngineNote:
    """An engine that the image brings: for which device (`cpu`, `cuda`, `sm86`), how precise."""

    device: str
    precision: str

    def __str__(self) -> str:
        return f"{self.device}:{self.precision}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirements:
    """The needs of an image, and what a host gets with it.

    compute_capabilities: that the GPU rungs of the stack run on; empty: no GPU is needed.
    unconfirmed: those of them that were never run yet.
    minimum_driver: least version of the NVIDIA driver; empty: none is needed.
    gpu_memory_bytes: an estimate (`estimate_gpu_memory`); 0: none is needed.
    disk_bytes, download_bytes: of all layers, unpacked and compressed.
    release: tag of the release manifest beside it.
    golden_samples: how many prove the app when it starts; 0: it is unproven; `None`: unknown, an
        earlier version made the image.
    """

    app: str
    version: str
    stack: str
    platforms: tuple[str, ...]
    backends: tuple[str, ...]
    compute_capabilities: tuple[ComputeCapability, ...] = ()
    unconfirmed: tuple[ComputeCapability, ...] = ()
    minimum_driver: str = ""
    gpu_memory_bytes: int = 0
    disk_bytes: int = 0
    download_bytes: int = 0
    engines: tuple[EngineNote, ...] = field(default=())
    release: str = ""
    golden_samples: int | None = None

    @property
    def is_unproven(self) -> bool:
        """True when the app has no golden samples."""
        return self.golden_samples == 0


def app_annotations(
    manifest: Manifest, *, revision: str, source: str, created: str
) -> dict[str, str]:
    """The OCI annotations of an app. What is unknown is left out."""
    app = manifest.app
    values = {
        "title": app.name,
        "version": app.version,
        "vendor": app.vendor,
        "description": app.summary,
        "licenses": app.license,
        "source": source,
        "revision": revision,
        "created": created,
    }
    return {_OCI + name: value for name, value in sorted(values.items()) if value}


def requirement_annotations(needs: Requirements) -> dict[str, str]:
    """Our annotations. Every name is always there; lists are separated by commas."""
    values: dict[str, object] = {
        "app": needs.app,
        "version": needs.version,
        "stack": needs.stack,
        "platforms": _listed(needs.platforms),
        "backends": _listed(needs.backends),
        "compute-capabilities": _listed(needs.compute_capabilities),
        "compute-capabilities.unconfirmed": _listed(needs.unconfirmed),
        "minimum-driver": needs.minimum_driver,
        "gpu-memory-bytes": needs.gpu_memory_bytes,
        "disk-bytes": needs.disk_bytes,
        "download-bytes": needs.download_bytes,
        "engines": _listed(needs.engines),
        "golden-samples": "" if needs.golden_samples is None else needs.golden_samples,
        "ports": f"{HTTP_PORT}/tcp",
        "release": needs.release,
    }
    return {OURS + name: str(value) for name, value in sorted(values.items())}


def label_annotations(annotations: Mapping[str, str]) -> dict[str, str]:
    """The annotations that are labels, too: all but the one that the compression decides.

    So the configuration, whose digest names an image on a host, is the same with any compression.
    """
    return {name: value for name, value in annotations.items() if name != _DOWNLOAD}


def index_annotations(annotations: Mapping[str, str]) -> dict[str, str]:
    """The annotations of one platform that hold for all: for the index of several."""
    return {name: annotations[name] for name in annotations if name not in _OF_ONE_PLATFORM}


def read_requirements(annotations: Mapping[str, str]) -> Requirements:
    """The way back, from annotations or labels (which leave the size of the download out).

    Raises:
        ImageInvalid: some are missing or malformed: it is no image of ours, or a newer one.
    """
    texts = {name[len(OURS):]: value for name, value in annotations.items()
             if name.startswith(OURS)}  # fmt: skip
    try:
        return Requirements(
            app=texts["app"],
            version=texts["version"],
            stack=texts["stack"],
            platforms=tuple(_words(texts["platforms"])),
            backends=tuple(_words(texts["backends"])),
            compute_capabilities=_capabilities(texts["compute-capabilities"]),
            unconfirmed=_capabilities(texts["compute-capabilities.unconfirmed"]),
            minimum_driver=texts["minimum-driver"],
            gpu_memory_bytes=_count(texts["gpu-memory-bytes"]),
            disk_bytes=_count(texts["disk-bytes"]),
            download_bytes=_count(texts.get("download-bytes", "0")),
            engines=tuple(_engine(word) for word in _words(texts["engines"])),
            release=texts["release"],
            golden_samples=_count(text) if (text := texts.get("golden-samples")) else None,
        )
    except KeyError as exc:
        raise ImageInvalid(
            f"the image does not say what it needs: the annotation {OURS}{exc.args[0]} is missing; "
            "it was not made by enginecrate, or by an older version: build it again"
        ) from exc
    except ValueError as exc:
        raise ImageInvalid(
            f"the image says what it needs in a way that this version cannot read: {exc}; "
            "use the version of enginecrate that made it"
        ) from exc


def engine_notes(plans: Iterable[ImagePlan]) -> tuple[EngineNote, ...]:
    """The engines among plans, sorted."""
    return tuple(sorted({EngineNote(one.info.device, str(one.info.precision)) for one in plans}))


def estimate_gpu_memory(
    stack: Stack, plans: Sequence[ImagePlan], model_bytes: int, instances: int
) -> int:
    """Bytes of GPU memory that one server takes: an estimate, made where there is no GPU.

    A CUDA context, the largest plan's weights once, and for each instance as much again for
    activations and the tensors of its largest batch. 0 for stacks without a GPU.

    Args:
        stack: of the image.
        plans: that go into it; without one for a GPU, the model stands for it.
        model_bytes: of the ONNX model with its external data.
        instances: that run at once.
    """
    if not stack.is_gpu:
        return 0
    on_gpu = [plan for plan in plans if plan.info.device != "cpu"]
    weights = max((plan.size for plan in on_gpu), default=model_bytes)
    tensors = max((_tensor_bytes(plan) for plan in on_gpu), default=0)
    return _CONTEXT_BYTES + weights + instances * (weights + tensors)


def _tensor_bytes(plan: ImagePlan) -> int:
    """Inputs and outputs of the largest batch; other dynamic dimensions count as 1."""
    total = 0
    for spec in (*plan.info.inputs, *plan.info.outputs):
        count = max(plan.info.max_batch, 1) if spec.shape[:1] == (-1,) else 1
        for size in spec.shape:
            count *= max(size, 1)
        total += count * spec.datatype.numpy.itemsize
    return total


def _listed(values: Iterable[object]) -> str:
    return ",".join(map(str, values))


def _words(text: str) -> list[str]:
    return [word for word in text.split(",") if word]


def _capabilities(text: str) -> tuple[ComputeCapability, ...]:
    return tuple(ComputeCapability.parse(word) for word in _words(text))


def _count(text: str) -> int:
    if not text.isdecimal():
        raise ValueError(f"not a number of bytes: {text!r}")
    return int(text)


def _engine(text: str) -> EngineNote:
    device, colon, precision = text.partition(":")
    if not (device and colon and precision):
        raise ValueError(f"not an engine (device:precision): {text!r}")
    return EngineNote(device, precision)
