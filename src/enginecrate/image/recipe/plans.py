"""Plans that go into an image: folders of a plan cache, and small indexes of them.

    opt/enginecrate/plans/<key>/plan.onnx, plan.json           a plan, as the cache holds it
    opt/enginecrate/plans/index/<stack>-<device>.json          the plans for one device

Every device has an index file of its own, so that the layers of engines do not depend on each
other, and an image for one GPU shares all others with its siblings.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from enginecrate.errors import RecipeInvalid
from enginecrate.stacks.catalog import Stack
from enginecrate.stacks.plan_index import SIDECAR
from enginecrate.stacks.versions import numbers, same_release
from enginecrate.values import Digest, PlanInfo, Precision

__all__ = [
    "ImagePlan",
    "by_device",
    "foreign_version",
    "plan_index",
    "runs_in",
]

_FORMAT = 1


class PlanEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One plan of an index.

    key: its folder beside `index`. digest, bytes: of its main file. sidecar: digest of its
    `plan.json`, which has those of all its other files.
    """

    key: str
    backend: str
    precision: Precision
    digest: str
    bytes: int
    sidecar: str


class PlanIndex(msgspec.Struct, frozen=True, kw_only=True):
    """`index/<stack>-<device>.json`: the plans of one device, sorted by precision and key."""

    format: int = msgspec.field(default_factory=lambda: _FORMAT)
    stack: str
    device: str
    plans: tuple[PlanEntry, ...]


@dataclass(frozen=True, slots=True)
class ImagePlan:
    """A plan on this machine. key: its name in the cache; info: its sidecar."""

    folder: Path
    key: str
    info: PlanInfo

    @classmethod
    def read(cls, folder: Path) -> ImagePlan:
        """The plan in a folder of the cache, with its files checked.

        Raises:
            RecipeInvalid: there is no plan, or its bytes are not those of its sidecar.
        """
        try:
            info = msgspec.json.decode((folder / SIDECAR).read_bytes(), type=PlanInfo)
            plan = cls(folder, folder.name, info)
            wrong = [
                path.name
                for path, digest in plan._digests()
                if Digest.of_file(path) != digest
            ]  # fmt: skip
        except (OSError, msgspec.DecodeError, UnicodeDecodeError) as exc:
            raise RecipeInvalid(
                f"the plan in {folder} cannot be read: {exc}; build it again: enginecrate build"
            ) from exc
        if wrong:
            raise RecipeInvalid(
                f"{', '.join(wrong)} of the plan in {folder} is damaged; build it again: "
                "enginecrate build"
            )
        return plan

    @property
    def main(self) -> Path:
        """Its main file."""
        return self.folder / ("plan.onnx" if self.info.backend == "onnxruntime" else "plan.engine")

    @property
    def files(self) -> tuple[Path, ...]:
        """Everything that it needs at run time, its sidecar included."""
        return tuple(sorted((self.folder / SIDECAR, *(path for path, _ in self._digests()))))

    @property
    def size(self) -> int:
        """Bytes of all its files but for the sidecar."""
        return sum(path.stat().st_size for path, _ in self._digests())

    def _digests(self) -> Iterable[tuple[Path, str]]:
        yield self.main, self.info.plan_digest
        yield from ((self.folder / name, digest) for name, digest in self.info.files.items())


def by_device(plans: Iterable[ImagePlan]) -> Mapping[str, tuple[ImagePlan, ...]]:
    """Plans by their device, both sorted; the same plan is listed once."""
    plans_by_key: dict[str, dict[str, ImagePlan]] = {}
    for plan in plans:
        plans_by_key.setdefault(plan.info.device, {})[plan.key] = plan
    return {
        device: tuple(sorted(plans_by_key[device].values(), key=_order))
        for device in sorted(plans_by_key)
    }


def plan_index(stack: str, device: str, plans: Iterable[ImagePlan]) -> PlanIndex:
    """The index of one device's plans."""
    entries = tuple(
        PlanEntry(
            key=plan.key,
            backend=plan.info.backend,
            precision=plan.info.precision,
            digest=plan.info.plan_digest,
            bytes=plan.info.plan_bytes,
            sidecar=str(Digest.of_file(plan.folder / SIDECAR)),
        )
        for plan in sorted(plans, key=_order)
    )
    return PlanIndex(stack=stack, device=device, plans=entries)


def runs_in(plan: ImagePlan, stack: Stack, platform: str) -> bool:
    """True if a plan goes into the image of a stack on a platform.

    Plans name the platform that they were built on, and no backend takes one of another. The image
    of another architecture therefore brings the ONNX model alone, and makes its plan at the first
    start. The same holds for a plan that the image's library would refuse (`foreign_version`).
    """
    belongs = plan.info.stack == stack.name and plan.info.platform == platform
    return belongs and not foreign_version(plan, stack)


def foreign_version(plan: ImagePlan, stack: Stack) -> str:
    """The version of its backend that a stack's image has, when that one refuses the plan.

    Empty when the plan fits. The rules are those of the loaders: onnxruntime takes a plan for
    `cuda` of any version and one for the CPU of its own alone; TensorRT takes those of its own
    version, and version-compatible ones of earlier versions.
    """
    info, locked = plan.info, stack.versions.get(plan.info.backend, "")
    if not locked or same_release(locked, info.backend_version):
        return ""
    if info.backend == "onnxruntime" and info.device != "cpu":
        return ""
    if info.version_compatible and numbers(info.backend_version) <= numbers(locked):
        return ""
    return locked


def _order(plan: ImagePlan) -> tuple[str, str]:
    return plan.info.precision, plan.key
