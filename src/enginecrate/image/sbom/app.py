"""The app in an image: its project, model, plans and data, each with its digest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from enginecrate.errors import ImageInvalid, ProjectError
from enginecrate.image.sbom.image_files import APP, PLANS, ImageFiles
from enginecrate.image.sbom.licences import LicenceTexts, is_expression
from enginecrate.image.sbom.model import Component, Kind, Link, Relation
from enginecrate.image.sbom.provenance_tables import FileOrigin, read_origins
from enginecrate.image.sbom.purls import purl
from enginecrate.manifest import MANIFEST_NAME, Manifest
from enginecrate.manifest.loading import parse_manifest
from enginecrate.values import PlanInfo

__all__ = ["app_components", "read_app_manifest"]

_SIDECAR = "plan.json"
_INDEX = f"{PLANS}index/"


def read_app_manifest(files: ImageFiles) -> Manifest | None:
    """The manifest in the image; `None` when it is not an image of ours.

    Raises:
        ImageInvalid: it does not follow the schema.
    """
    try:
        data = files.read(APP + MANIFEST_NAME)
    except KeyError:
        return None
    try:
        return parse_manifest(data, Path(MANIFEST_NAME))
    except ProjectError as exc:
        raise ImageInvalid(
            f"the manifest in the image cannot be used: {exc}; build the image again"
        ) from exc


def app_components(
    files: ImageFiles, manifest: Manifest, texts: LicenceTexts
) -> tuple[tuple[Component, ...], tuple[Relation, ...]]:
    """The app and every file of it and of its plans.

    The licence of a file is what `PROVENANCE.md` says; for files that it does not list, that of the
    app.
    """
    origins = _origins(files, texts)
    app = _app(manifest)
    model = f"{APP}{manifest.model.path}"
    parts = [
        _file(path, path == model, manifest, origins, files)
        for path in files.paths
        if path.startswith(APP)
    ]
    plans = list(_plans(files, manifest))
    inside = [Relation(app.ref, Link.CONTAINS, one.ref) for one in (*parts, *plans)]
    built_from = [Relation(one.ref, Link.MADE_FROM, f"file/{model}") for one in plans]
    known = {one.ref for one in parts}
    return (app, *parts, *plans), (*inside, *(one for one in built_from if one.target in known))


def _app(manifest: Manifest) -> Component:
    app = manifest.app
    return Component(
        kind=Kind.APP,
        ref=f"app/{app.name}",
        name=app.name,
        version=app.version,
        purl=purl("generic", app.vendor, app.name, app.version),
        licence=_app_licence(manifest),
        supplier=app.vendor,
        summary=app.summary,
    )


def _app_licence(manifest: Manifest) -> str:
    return manifest.app.license if is_expression(manifest.app.license) else ""


def _origins(files: ImageFiles, texts: LicenceTexts) -> Mapping[str, FileOrigin]:
    try:
        return read_origins(files.read(f"{APP}PROVENANCE.md").decode(errors="replace"), texts)
    except KeyError:
        return {}


def _file(
    path: str,
    is_model: bool,
    manifest: Manifest,
    origins: Mapping[str, FileOrigin],
    files: ImageFiles,
) -> Component:
    short = path.removeprefix(APP)
    origin = origins.get(short, FileOrigin(licence=_app_licence(manifest)))
    return Component(
        kind=Kind.MODEL if is_model else Kind.DATA,
        ref=f"file/{path}",
        name=short,
        version=manifest.app.version,
        purl=_purl(manifest, short, files.sha256(path)),
        licence=origin.licence,
        supplier=manifest.app.vendor,
        author=origin.author,
        sha256=files.sha256(path),
        path=path,
        summary=origin.source,
    )


def _plans(files: ImageFiles, manifest: Manifest) -> Iterator[Component]:
    """Files of plans; each main file says what it was built with."""
    for path in files.paths:
        if not path.startswith(PLANS) or path.startswith(_INDEX):
            continue
        short = path.removeprefix(PLANS)
        yield Component(
            kind=Kind.PLAN,
            ref=f"file/{path}",
            name=f"plans/{short}",
            version=manifest.app.version,
            purl=_purl(manifest, f"plans/{short}", files.sha256(path)),
            licence=_app_licence(manifest),
            supplier=manifest.app.vendor,
            sha256=files.sha256(path),
            path=path,
            summary=_built_with(files, path),
        )


def _built_with(files: ImageFiles, path: str) -> str:
    try:
        data = files.read(f"{path.rpartition('/')[0]}/{_SIDECAR}")
        info = msgspec.json.decode(data, type=PlanInfo)
    except (KeyError, msgspec.DecodeError, UnicodeDecodeError):
        return ""
    return (
        f"{info.precision} for {info.device}, built by {info.backend} {info.backend_version} "
        f"for the stack {info.stack}"
    )


def _purl(manifest: Manifest, name: str, sha256: str) -> str:
    """A file has no home but the app: its name and checksum identify it."""
    app = manifest.app
    checksum = {"checksum": f"sha256:{sha256}"}
    return purl("generic", f"{app.vendor}/{app.name}".strip("/"), name, app.version, checksum)
