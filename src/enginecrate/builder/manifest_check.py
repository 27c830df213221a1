"""The check of a manifest against everything that it names: stacks, model, labels, photos, class.

All faults are found at once: what one fault spoils is left out, and the rest is examined.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from enginecrate.builder.golden.samples import load_golden
from enginecrate.builder.plans.targets import choose_targets, unbuilt_gpus, wanted_precisions
from enginecrate.builder.project.photos import photo_paths
from enginecrate.builder.project.project import label_notes, profile_faults
from enginecrate.errors import EnginecrateError, LabelsInvalid, ManifestInvalid, StackUnsupported
from enginecrate.graph.onnx.model import OnnxModel, read_model
from enginecrate.graph.typed import QUANTISED
from enginecrate.manifest import (
    Draft,
    Listing,
    LocatedFault,
    Manifest,
    locate,
    missing_files,
    named_files,
    read_draft,
)
from enginecrate.pipelines.decoders.registry import DECODERS, unknown_decoder
from enginecrate.pipelines.labels import load_labels
from enginecrate.pipelines.loader import create_pipeline
from enginecrate.stacks.catalog import get_stack
from enginecrate.stacks.gpus import capability_of
from enginecrate.values import PipelineSpec

__all__ = ["ManifestCheck", "check_manifest"]

Key = tuple[str | int, ...]

_FOLDERS = {("precision", "accuracy", "golden"), ("precision", "calibration", "images"),
            ("precision", "accuracy", "images")}  # fmt: skip
_EITHER = {("precision", "accuracy", "labelled"), ("image", "files")}
_PNG = b"\x89PNG\r\n\x1a\n"
_KEY = re.compile(r"\[pipeline\] (\w+)")

_NO_EFFECT = {
    "detection": ("decoder_options", "score_threshold", "iou_threshold", "class_agnostic",
                  "max_detections"),
    "classification": ("activation", "top_k"),
}  # fmt: skip
_NO_RESIZE = {
    "short_side": ("short_side_crop", "proportional"),
    "long_side": ("proportional",),
    "multiple": ("proportional",),
    "pad_value": ("letterbox",),
}


@dataclass(frozen=True, slots=True)
class ManifestCheck:
    """The outcome. manifest: `None` when too little of it can be read."""

    draft: Draft
    faults: tuple[LocatedFault, ...]
    warnings: tuple[LocatedFault, ...]

    @property
    def manifest(self) -> Manifest | None:
        return self.draft.manifest


@dataclass(frozen=True, slots=True)
class _Fault:
    key: Key
    message: str
    code: str = ManifestInvalid.code
    warning: bool = False


def check_manifest(path: Path, base_check: Callable[[str], object] | None = None) -> ManifestCheck:
    """Examine a manifest and what it names. Runs nothing but the vendor's own pipeline class.

    Args:
        path: the project folder, or its manifest.
        base_check: raises when `image.base` is unknown.

    Raises:
        ManifestNotFound: no such file.
        ManifestSyntax: not UTF-8, or not TOML.
    """
    draft = read_draft(path)
    found = [_Fault(key, message) for key, message in draft.faults]
    if draft.manifest is not None:
        spoilt = {key for key, _ in draft.faults}
        root = draft.path.parent.absolute()
        for fault in _faults(draft.manifest, root, spoilt, base_check):
            if not any(_touches(fault.key, key) for key in spoilt):
                found.append(fault)
    located = [(fault.warning, _located(draft.text, fault)) for fault in dict.fromkeys(found)]
    located.sort(key=lambda one: (one[1].line, one[1].column))
    return ManifestCheck(
        draft,
        tuple(fault for warning, fault in located if not warning),
        tuple(fault for warning, fault in located if warning),
    )


def _touches(key: Key, spoilt: Key) -> bool:
    return key[: len(spoilt)] == spoilt


def _located(text: str, fault: _Fault) -> LocatedFault:
    (located,) = locate(text, [(fault.key, fault.message)])
    return msgspec.structs.replace(located, code=fault.code)


def _faults(
    manifest: Manifest, root: Path, spoilt: set[Key], base_check: Callable[[str], object] | None
) -> Iterator[_Fault]:
    missing = set()
    for key, message in missing_files(manifest, root):
        missing.add(key)
        yield _Fault(key, message)
    yield from _path_faults(manifest, root, missing | spoilt)
    yield from _target_faults(manifest)
    absent = missing | spoilt
    yield from _photo_faults(manifest, root, absent)
    if ("pipeline", "task") not in spoilt:
        yield from _without_effect(manifest)
        yield from _decoder_faults(manifest.pipeline)
    if ("model", "path") not in absent and ("pipeline",) not in spoilt:
        yield from _model_faults(manifest, root, absent)
    if manifest.image is not None and base_check is not None:
        try:
            base_check(manifest.image.base)
        except EnginecrateError as exc:
            yield _Fault(("image", "base"), str(exc), exc.code)


def _path_faults(manifest: Manifest, root: Path, absent: set[Key]) -> Iterator[_Fault]:
    """Files in place of folders, and links that lead out of the project."""
    for key, value in named_files(manifest):
        path = root / value
        if key in absent or not path.exists():
            continue
        kind = key[:2] if key[0] == "image" else key
        if kind in _FOLDERS and not path.is_dir():
            yield _Fault(key, f"{value!r} is not a folder; name the folder that holds the files")
        elif kind not in _FOLDERS | _EITHER and not path.is_file():
            yield _Fault(key, f"{value!r} is not a file; name the file itself")
        elif links := _links_out(path, root):
            more = f" (and {len(links) - 1} more)" if len(links) > 1 else ""
            yield _Fault(
                key,
                f"{links[0]!r}{more} is a link that leads out of the project folder, and images "
                "hold nothing from there; put a copy in its place",
            )
    if manifest.listing is not None:
        yield from _listing_faults(manifest.listing, root)


def _listing_faults(listing: Listing, root: Path) -> Iterator[_Fault]:
    if listing.description and (root / listing.description).is_file():
        try:
            (root / listing.description).read_text(encoding="utf-8")
        except (UnicodeDecodeError, OSError) as exc:
            yield _Fault(("listing", "description"), f"cannot be read as UTF-8 text: {exc}")
    if listing.icon and (root / listing.icon).is_file():
        with (root / listing.icon).open("rb") as file:
            if file.read(len(_PNG)) != _PNG:
                yield _Fault(("listing", "icon"), f"{listing.icon!r} is not a PNG file; convert it")


def _links_out(path: Path, root: Path) -> list[str]:
    folder = root.resolve()
    paths = [path, *(path.rglob("*") if path.is_dir() else ())]
    leading = (one for one in paths if one.is_symlink() or one == path)
    return [
        one.relative_to(root).as_posix()
        for one in leading
        if not one.resolve().is_relative_to(folder)
    ]


def _target_faults(manifest: Manifest) -> Iterator[_Fault]:
    targets = manifest.targets
    known = True
    for section, names, look_up in (
        ("stacks", targets.stacks, get_stack),
        ("gpus", targets.gpus, capability_of),
    ):
        for index, name in enumerate(names):
            try:
                look_up(name)
            except EnginecrateError as exc:
                known = False
                yield _Fault(("targets", section, index), str(exc), exc.code)
            if name in names[:index]:
                yield _Fault(("targets", section, index), f"{name!r} stands there twice")
    if not known:
        return
    for name, reason in unbuilt_gpus(manifest).items():
        index = targets.gpus.index(name)
        yield _Fault(("targets", "gpus", index), reason, StackUnsupported.code)
    yield from _precision_faults(manifest)


def _precision_faults(manifest: Manifest) -> Iterator[_Fault]:
    """Precisions that no stack of the manifest runs, and those that one of them does not."""
    try:
        built, others = choose_targets(manifest)
    except StackUnsupported as exc:
        yield _Fault(("targets",), str(exc), exc.code)
        return
    for precision in wanted_precisions(manifest):
        names = manifest.targets.precisions
        key: Key = ("precision", "mode")
        if precision.value != manifest.precision.mode:
            key = ("targets", "precisions", names.index(precision.value))
        reasons = [
            f"{one.target}: {one.reason}" for one in others if f", {precision}" in one.target
        ]
        if not any(target.precision is precision for target in built):
            words = "; ".join(reasons)
            message = f"no stack of targets.stacks runs {precision} ({words}); choose another"
            yield _Fault(key, message, StackUnsupported.code)
        else:
            for reason in reasons:
                yield _Fault(key, f"nothing is built for {reason}", warning=True)


def _photo_faults(manifest: Manifest, root: Path, absent: set[Key]) -> Iterator[_Fault]:
    precision, task = manifest.precision, manifest.pipeline.task
    accuracy, calibration = precision.accuracy, precision.calibration
    wanted = bool({*wanted_precisions(manifest)} & {*QUANTISED})
    folders: list[tuple[Key, str]] = []
    if calibration is not None:
        folders.append((("precision", "calibration", "images"), calibration.images))
    if accuracy.images is not None:
        folders.append((("precision", "accuracy", "images"), accuracy.images))
        if calibration and _same(root / accuracy.images, root / calibration.images):
            yield _Fault(
                ("precision", "accuracy", "images"),
                "is the folder of the calibration photos; what calibrates cannot examine: name "
                "other photos, or leave it out, and a fifth of them is held out",
            )
    for key, value in folders:
        if key in absent or not (root / value).is_dir():
            continue
        try:
            photo_paths(root / value, task)
        except EnginecrateError as exc:
            yield _Fault(key, str(exc), exc.code, warning=not wanted)
    golden: Key = ("precision", "accuracy", "golden")
    if golden in absent:
        return
    try:
        samples = load_golden(root / accuracy.golden)
    except EnginecrateError as exc:
        yield _Fault(golden, str(exc), exc.code)
        return
    if not samples and accuracy.golden.rstrip("/") != "golden":
        yield _Fault(golden, "has no golden samples: the app is unproven", warning=True)


def _same(one: Path, other: Path) -> bool:
    return one.resolve() == other.resolve()


def _without_effect(manifest: Manifest) -> Iterator[_Fault]:
    """Keys that the task, the resize or the method does not read."""
    spec = manifest.pipeline
    defaults = {field.name: field.default for field in msgspec.structs.fields(PipelineSpec)}
    if spec.module is None:
        for task, names in _NO_EFFECT.items():
            for name in names if spec.task != task else ():
                value = getattr(spec, name)
                if value and value != defaults[name]:
                    reason = f"has no effect on the task {spec.task!r}; leave it out"
                    yield _Fault(("pipeline", name), reason, warning=True)
        for name, resizes in _NO_RESIZE.items():
            value = getattr(spec, name)
            if value is not None and value != defaults[name] and spec.resize not in resizes:
                reason = f"has no effect on resize = {spec.resize!r}; leave it out"
                yield _Fault(("pipeline", name), reason, warning=True)
    calibration = manifest.precision.calibration
    if calibration and calibration.method != "percentile" and calibration.percentile != 99.99:
        reason = f"has no effect on method = {calibration.method!r}; leave it out"
        yield _Fault(("precision", "calibration", "percentile"), reason, warning=True)


def _decoder_faults(spec: PipelineSpec) -> Iterator[_Fault]:
    if spec.decoder is None or spec.module is not None:
        return
    key: Key = ("pipeline", "decoder")
    if spec.decoder not in DECODERS:
        yield _Fault(key, unknown_decoder(spec.decoder), "EC1404")
    elif spec.task != "detection":
        yield _Fault(key, f"has no effect on the task {spec.task!r}; leave it out", warning=True)


def _model_faults(manifest: Manifest, root: Path, absent: set[Key]) -> Iterator[_Fault]:
    try:
        model = read_model(root / manifest.model.path)
    except EnginecrateError as exc:
        yield _Fault(("model", "path"), str(exc), exc.code)
        return
    for _, message in profile_faults(manifest, model):
        yield _Fault(("model", "profiles"), message)
    spec, key = manifest.pipeline, ("pipeline", "labels")
    labels: list[str] = []
    if spec.labels and key not in absent:
        try:
            labels = load_labels(root / spec.labels)
        except LabelsInvalid as exc:
            yield _Fault(key, str(exc), exc.code)
    if labels or not spec.labels:
        try:
            for text in label_notes(spec, labels, model):
                yield _Fault(key, text, warning=True)
        except LabelsInvalid as exc:
            yield _Fault(key, str(exc), exc.code)
    if not any(one[:2] in (("pipeline", "module"), ("pipeline", "decoder")) for one in absent):
        yield from _pipeline_faults(spec, model, labels, root)


def _pipeline_faults(
    spec: PipelineSpec, model: OnnxModel, labels: Sequence[str], root: Path
) -> Iterator[_Fault]:
    """Every fault of the section: what one key spoils gets its default, and is tried again.

    Labels are what pipelines check last: after them nothing is left. Where they cannot be read, a
    decoder may lack their number; that is no fault of its options.
    """
    unread = bool(spec.labels) and not labels
    last = ""
    for _ in range(len(spec.__struct_fields__)):
        error = _pipeline_error(spec, model, labels, root)
        if error is None or str(error) == last:
            return
        name = _key_of(error)
        changed = _mended(spec, name, str(error))
        again = changed and _pipeline_error(changed, model, labels, root)
        same = str(again) == str(error)
        if not (unread and same) and (name != "decoder" or spec.decoder in DECODERS):
            message = str(error).removeprefix(f"[pipeline] {name}").removeprefix(": ").lstrip()
            yield _Fault(("pipeline", name) if name else ("pipeline",), message, error.code)
        if changed is None or same:
            return
        spec, last = changed, str(error)


def _pipeline_error(
    spec: PipelineSpec, model: OnnxModel, labels: Sequence[str], root: Path
) -> EnginecrateError | None:
    try:
        create_pipeline(spec, model.inputs, model.outputs, labels, root)
    except EnginecrateError as exc:
        return exc
    return None


def _mended(spec: PipelineSpec, name: str, message: str) -> PipelineSpec | None:
    """The section without the key that an error is about; `None` where nothing can replace it."""
    if name in ("", "task", "labels", "decoder", "module"):
        return None
    unknown = re.search(r"unknown key '([^']+)'", message)
    if name == "decoder_options" and unknown:
        options = {key: value for key, value in spec.decoder_options.items() if key != unknown[1]}
        return msgspec.structs.replace(spec, decoder_options=options)
    default = PipelineSpec(task=spec.task)
    names = ("mean", "std") if name in ("mean", "std") else (name,)
    return msgspec.structs.replace(spec, **{key: getattr(default, key) for key in names})


def _key_of(error: EnginecrateError) -> str:
    """The key of `[pipeline]` that an error is about; empty when it names none."""
    known = PipelineSpec.__struct_fields__
    names = [name for name in _KEY.findall(str(error)) if name in known]
    if names:
        return str(names[0])
    return "labels" if isinstance(error, LabelsInvalid) else ""
