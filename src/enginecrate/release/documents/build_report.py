"""The part of `build/report.json` that becomes evidence.

The whole schema is `enginecrate.builder.report.report.BuildReport`; other fields are ignored.
"""

from __future__ import annotations

from typing import Any

import msgspec

from enginecrate.errors import ReleaseInvalid
from enginecrate.image.sbom.model import Component, Kind, Sbom
from enginecrate.manifest import MANIFEST_NAME

__all__ = ["Report", "ReportedPlan", "ReportedTarget", "read_report"]

_FORMAT = 2
_MAIN = ("/plan.onnx", "/plan.engine")
_CURE = "run `enginecrate build`, build the image from its plans, and use its report"


class ReportedPlan(msgspec.Struct, frozen=True):
    """A plan by its key in the cache. plan_digest: of its main file."""

    stack: str
    backend: str
    backend_version: str
    platform: str
    device: str
    precision: str
    key: str
    plan_digest: str


class ReportedTarget(msgspec.Struct, frozen=True):
    """A target. evaluation, labelled: as the report has them."""

    status: str
    plan: ReportedPlan | None = None
    evaluation: dict[str, Any] | None = None
    labelled: dict[str, Any] | None = None


class _App(msgspec.Struct, frozen=True):
    name: str
    version: str
    manifest_digest: str


class _Model(msgspec.Struct, frozen=True):
    digest: str


class _Golden(msgspec.Struct, frozen=True):
    name: str
    passed: bool


class _Result(msgspec.Struct, frozen=True):
    app: _App
    model: _Model
    targets: tuple[ReportedTarget, ...]
    served: int | None
    golden: tuple[_Golden, ...]


class _Timing(msgspec.Struct, frozen=True):
    target: int
    timing: dict[str, Any]


class _Run(msgspec.Struct, frozen=True):
    finished: str
    machine: dict[str, Any]
    timings: tuple[_Timing, ...] = ()


class Report(msgspec.Struct, frozen=True):
    """A build. `verdict`: `proven`, `unproven` or `failed`."""

    format: int
    verdict: str
    result: _Result
    run: _Run

    def targets_of(self, sbom: Sbom) -> tuple[tuple[int, ReportedTarget, ReportedPlan], ...]:
        """The targets whose plans are in an image, each with its number in the report.

        Raises:
            ReleaseInvalid: the report is about another app, version, manifest or model, or the
                image has plans that it does not know, or none of those that it knows.
        """
        self._check_app(sbom)
        inside = {(_key(one.name), f"sha256:{one.sha256}") for one in _main_files(sbom)}
        targets = tuple(
            (number, target, target.plan)
            for number, target in enumerate(self.result.targets)
            if target.plan is not None and (target.plan.key, target.plan.plan_digest) in inside
        )
        unknown = inside - {(plan.key, plan.plan_digest) for _, _, plan in targets}
        if unknown or not targets:
            listed = ", ".join(digest for _, digest in sorted(unknown)) or "none of the report's"
            raise ReleaseInvalid(
                f"the report is about other plans than those in the image {sbom.subject.digest}: "
                f"the image has {listed}; {_CURE}"
            )
        return targets

    def _check_app(self, sbom: Sbom) -> None:
        app = self.result.app
        facts = {
            "app": (app.name, {one.name for one in sbom.of_kind(Kind.APP)}),
            "version": (app.version, {one.version for one in sbom.of_kind(Kind.APP)}),
            "manifest": (app.manifest_digest, _digests(sbom, MANIFEST_NAME)),
            "model": (self.result.model.digest, _digests(sbom)),
        }
        for name, (reported, inside) in facts.items():
            if reported not in inside:
                raise ReleaseInvalid(
                    f"the report is about another {name}: it says {reported}, and the image "
                    f"{sbom.subject.digest} has {', '.join(sorted(inside)) or 'none'}; {_CURE}"
                )


def read_report(data: bytes, where: str) -> Report:
    """Read `report.json`; `where` is for messages. Raises `ReleaseInvalid`."""
    try:
        report = msgspec.json.decode(data, type=Report)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise ReleaseInvalid(f"{where} is not the report of a build: {exc}; {_CURE}") from exc
    if report.format != _FORMAT:
        raise ReleaseInvalid(
            f"{where} has format {report.format}, and this version reads {_FORMAT}; {_CURE}"
        )
    return report


def _main_files(sbom: Sbom) -> list[Component]:
    return [one for one in sbom.of_kind(Kind.PLAN) if one.name.endswith(_MAIN)]


def _key(name: str) -> str:
    """The folder of a plan: two stacks may have the same bytes under different keys."""
    return name.split("/")[-2]


def _digests(sbom: Sbom, name: str = "") -> set[str]:
    """The digests of the data file of this name, or of the model."""
    kinds = (Kind.DATA,) if name else (Kind.MODEL,)
    return {f"sha256:{one.sha256}" for one in sbom.of_kind(*kinds) if name in ("", one.name)}
