"""The files of a project that go into its image: those that the manifest needs, and nothing else.

`app`: manifest, lock, labels, golden samples, photos, licences, the pipeline module, and what
`[image] files` adds. `model`: the ONNX model with its external data, which changes more often.

The manifest that the image is built from is `enginecrate.toml` there, whatever its name is here:
the server reads that one.

Files that hold keys or tokens are refused, since everybody who gets an image can read it. The
scanner is the one of `enginecrate audit`: a secret that it calls serious never gets in.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from enginecrate.errors import ManifestInvalid, RecipeInvalid
from enginecrate.image.audit.rules.redaction import redact
from enginecrate.image.audit.rules.rule_data import Severity, load_rules
from enginecrate.image.audit.rules.secret_scanner import SecretMatch, load_scanner
from enginecrate.image.audit.rules.texts import read_searchable
from enginecrate.image.recipe.config import APP
from enginecrate.manifest import MANIFEST_NAME, ManifestFile
from enginecrate.stacks.lock import LOCK_NAME

if TYPE_CHECKING:
    import onnx

__all__ = ["AppFiles", "find_app_files", "packed_names"]

_KEY_FILES = re.compile(
    r"(?i)id_(rsa|dsa|ecdsa|ed25519)|(?!truststore\.).*\.(key|p12|pfx|jks|keystore|kdbx|ppk)"
)
_SERIOUS = (Severity.CRITICAL, Severity.HIGH)
_UNWANTED = {"__pycache__", ".git", ".svn", ".hg", ".DS_Store", "Thumbs.db"}
_ALWAYS = ("LICENSES", "LICENSE", "LICENSE.txt", "NOTICE", "PROVENANCE.md", "photos")
_CALIBRATED = {"int8", "fp8"}


@dataclass(frozen=True, slots=True)
class AppFiles:
    """Files by their paths below the app's folder in the image, sorted.

    folders: that the manifest names and the image does not need; they exist there, empty.
    manifest: its name in the project.
    """

    root: Path
    app: tuple[PurePosixPath, ...]
    model: tuple[PurePosixPath, ...]
    folders: tuple[PurePosixPath, ...] = ()
    manifest: str = MANIFEST_NAME

    def source(self, path: PurePosixPath) -> Path:
        """The path of a file on this machine."""
        return self.root / (self.manifest if str(path) == MANIFEST_NAME else path)

    @property
    def model_bytes(self) -> int:
        """The bytes of the model with its external data."""
        return sum(self.source(path).stat().st_size for path in self.model)


def find_app_files(file: ManifestFile) -> AppFiles:
    """The files of a project.

    Raises:
        ManifestInvalid: the manifest names a file that is missing.
        RecipeInvalid: a file looks like a key or a password, or is a link that leads out of the
            project, or the model cannot be read.
    """
    root, manifest = file.root, file.manifest
    model = set(_model_files(root, manifest.model.path))
    wanted = {PurePosixPath(LOCK_NAME)} if (root / LOCK_NAME).is_file() else set()
    for name in (*_ALWAYS, *_named(file)):
        wanted.update(_below(root, name))
    wanted.discard(PurePosixPath(file.path.name))
    app = tuple(sorted((wanted | {PurePosixPath(MANIFEST_NAME)}) - model))
    # The app's own folder is there anyway.
    folders = {PurePosixPath(name) for name in _not_needed(file)} - {PurePosixPath()}
    files = AppFiles(root, app, tuple(sorted(model)), tuple(sorted(folders)), file.path.name)
    for path in (*files.app, *files.model):
        source = files.source(path)
        _check_inside(root, source)
        _refuse_secret(source, source.relative_to(root).as_posix(), f"{APP.lstrip('/')}/{path}")
    return files


def packed_names(file: ManifestFile) -> list[str]:
    """The names in the project of the files that go into the image. Errors as `find_app_files`."""
    files = find_app_files(file)
    names = (files.source(path).relative_to(files.root) for path in (*files.app, *files.model))
    return [name.as_posix() for name in names]


def _named(file: ManifestFile) -> Iterator[str]:
    """Files and folders that the manifest names, and the image needs."""
    manifest = file.manifest
    spec, accuracy = manifest.pipeline, manifest.precision.accuracy
    if spec.labels is not None:
        yield spec.labels
    if spec.module is not None:
        yield from _module_files(file.root, spec.module)
    yield accuracy.golden
    if manifest.precision.calibration is not None:
        yield manifest.precision.calibration.images
    if _is_calibrated(file):
        yield from filter(None, (accuracy.images, accuracy.labelled))
    if manifest.listing is not None:
        yield from filter(None, (manifest.listing.description, manifest.listing.icon))
    for name in manifest.image.files if manifest.image else ():
        if not (file.root / name).exists():
            raise ManifestInvalid(
                f"{file.path}: image.files names {name!r}, and there is no such file or folder in "
                f"{file.root}; correct it"
            )
        yield name


def _not_needed(file: ManifestFile) -> Iterator[str]:
    """Folders that the image has empty: of golden samples that are still to be recorded, and of
    photos for the examination of INT8, which nothing in an image without INT8 ever reads.
    """
    accuracy = file.manifest.precision.accuracy
    if (file.root / accuracy.golden).is_dir() and not any(_below(file.root, accuracy.golden)):
        yield accuracy.golden
    if not _is_calibrated(file):
        for name in filter(None, (accuracy.images, accuracy.labelled)):
            yield name if (file.root / name).is_dir() else str(PurePosixPath(name).parent)


def _is_calibrated(file: ManifestFile) -> bool:
    manifest = file.manifest
    return bool(_CALIBRATED & {manifest.precision.mode, *manifest.targets.precisions})


def _module_files(root: Path, module: str) -> Iterator[str]:
    """The pipeline's file, and those beside it that it may import."""
    name = module.partition(":")[0]
    file = PurePosixPath(name if name.endswith(".py") else f"{name}.py")
    yield str(file)
    for path in sorted((root / file.parent).glob("*.py")):
        yield str(file.parent / path.name)


def _below(root: Path, name: str) -> Iterator[PurePosixPath]:
    """The file of this name, or the files of this folder; hidden ones are left out."""
    top = root / name
    if top.is_file():
        yield PurePosixPath(name)
        return
    for path in top.rglob("*"):
        inner = path.relative_to(top)
        hidden = any(part in _UNWANTED or part.startswith(".") for part in inner.parts)
        if not hidden and path.is_file():
            yield PurePosixPath(path.relative_to(root).as_posix())


def _check_inside(root: Path, path: Path) -> None:
    if not path.resolve().is_relative_to(root.resolve()):
        raise RecipeInvalid(
            f"{path.relative_to(root)} is a link that leads out of the project folder {root}; put "
            "a copy of what it points to in its place"
        )


def _model_files(root: Path, name: str) -> Iterable[PurePosixPath]:
    """The model and its external data (ONNX, docs/ExternalData.md)."""
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped,unused-ignore]
    from onnx.external_data_helper import uses_external_data

    path, model = root / name, PurePosixPath(name)
    try:
        proto = onnx.load(path, load_external_data=False)
    except (OSError, DecodeError) as exc:
        raise RecipeInvalid(
            f"the model {path} cannot be read: {exc}; look at it with: enginecrate inspect"
        ) from exc
    yield model
    nodes = chain(proto.graph.node, *(function.node for function in proto.functions))
    for tensor in chain(proto.graph.initializer, _tensors(nodes)):
        if uses_external_data(tensor):
            entries = {entry.key: entry.value for entry in tensor.external_data}
            beside = model.parent / entries.get("location", "")
            if not (root / beside).is_file():
                raise RecipeInvalid(f"{beside}, which holds weights of {name}, is missing")
            yield beside


def _tensors(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.TensorProto]:
    """The tensors in the attributes of nodes, and those of their subgraphs."""
    for node in nodes:
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
            for inner in (attribute.g, *attribute.graphs):
                yield from inner.initializer
                yield from _tensors(inner.node)


def _refuse_secret(path: Path, name: str, at: str) -> None:
    """Refuse a file that holds a secret, or has the name of a key.

    Args:
        path: on this machine.
        name: in the project, for the message.
        at: in the image, without a leading slash.

    Raises:
        RecipeInvalid: it does; the message never shows the content.
    """
    if _KEY_FILES.fullmatch(path.name):
        reason = "its name is one that keys have"
    elif match := _serious(path, at):
        reason = (
            f"line {match.line} holds {match.what} (an example may stay if its value has the word "
            "EXAMPLE in it)"
        )
    else:
        return
    raise RecipeInvalid(
        f"{redact(name)} must not go into an image: {reason}; take it out of the folders that the "
        "manifest names, and, if it was ever published, replace the key"
    )


def _serious(path: Path, at: str) -> SecretMatch | None:
    """The first match that the audit counts, and does not call a mere suspicion."""
    scanner = load_scanner()
    with path.open("rb") as file:
        data = read_searchable(path.stat().st_size, file)
    # A token that was mistyped is as much a reason to look again as one that was issued.
    for match in scanner.search_file(at, data, _serious_rules(), proven=False):
        if not scanner.reason_to_allow(at, match.kind):
            return match
    return None


@cache
def _serious_rules() -> frozenset[str]:
    return frozenset(name for name, rule in load_rules().items() if rule.severity in _SERIOUS)
