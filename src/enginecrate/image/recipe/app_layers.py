"""The layers of an image: those that change least lie lowest.

    Debian base        libc and the libraries below the interpreter, certificates, time zones
    Python             the interpreter and its standard library, the list of Debian packages
    <large wheel>      each wheel of more than 50 MB alone: CUDA, TensorRT
    Python packages    all other wheels
    enginecrate        this program, its entry point, the example clients
    app                manifest, lock, labels, golden samples, photos
    model              the ONNX model, and the plans of onnxruntime, which are nearly the same bytes
    engine <device>    the TensorRT plans of one GPU

Bytecode lies in the layer of what it belongs to. Images for different GPUs differ in their topmost
layers alone. Model and plan share a layer because the compressor then finds the one in the other:
a new model is pushed once, not twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath

from enginecrate.image.formats.oci import encode
from enginecrate.image.layers.entries import Contents, Folder, LayerRecipe
from enginecrate.image.layers.files import BytesContents, EntryContents, FolderContents
from enginecrate.image.recipe.app_files import AppFiles
from enginecrate.image.recipe.config import APP, PLANS, ROOT
from enginecrate.image.recipe.plans import ImagePlan, by_device, plan_index

__all__ = ["app_layers", "client_contents", "engine_layers"]

_APP, _PLANS, _CLIENTS = APP.lstrip("/"), PLANS.lstrip("/"), f"{ROOT.lstrip('/')}/clients"


def client_contents(clients: Mapping[str, bytes]) -> Contents:
    """The example clients, by name."""
    return BytesContents("clients", {f"{_CLIENTS}/{name}": clients[name] for name in clients})


def app_layers(files: AppFiles, stack: str, plans: Sequence[ImagePlan]) -> tuple[LayerRecipe, ...]:
    """The layers `app` and `model`.

    Args:
        files: of the project.
        stack: of the image.
        plans: that fit the image; those of TensorRT have layers of their own.
    """
    folders = [Folder(f"{_APP}/{path}") for path in files.folders]
    empty = EntryContents("empty folders", [Folder(_APP), Folder(f"{_PLANS}/index"), *folders])
    return (
        LayerRecipe("app", (empty, *_project(files, files.app))),
        LayerRecipe(
            "model",
            (
                *_project(files, files.model),
                *_plans(stack, [plan for plan in plans if not _has_own_layer(plan)]),
            ),
        ),
    )


def engine_layers(stack: str, plans: Iterable[ImagePlan]) -> tuple[LayerRecipe, ...]:
    """A layer for each device that TensorRT plans are for, sorted by device."""
    devices = by_device(plan for plan in plans if _has_own_layer(plan))
    return tuple(
        LayerRecipe(f"engine {device}", tuple(_plans(stack, own)))
        for device, own in devices.items()
    )


def _has_own_layer(plan: ImagePlan) -> bool:
    return plan.info.backend != "onnxruntime"


def _project(files: AppFiles, paths: Iterable[PurePosixPath]) -> list[Contents]:
    return [_file(files.source(path), f"{_APP}/{path}", str(path)) for path in paths]


def _plans(stack: str, plans: Iterable[ImagePlan]) -> list[Contents]:
    """Plans with the index of each of their devices."""
    contents: list[Contents] = []
    for device, own in by_device(plans).items():
        index = {f"{_PLANS}/index/{stack}-{device}.json": encode(plan_index(stack, device, own))}
        contents.append(BytesContents(f"index of {device}", index))
        for plan in own:
            contents += [
                _file(path, f"{_PLANS}/{plan.key}/{path.name}", f"plan {plan.key[:12]}")
                for path in plan.files
            ]
    return contents


def _file(source: Path, at: str, name: str) -> Contents:
    return FolderContents(source, at, name=name)
