"""The plans in an image, by digest: those that a signed release lists, and no others."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from enginecrate.errors import ReleaseInvalid
from enginecrate.release.content.files import PLANS, Contents
from enginecrate.release.manifest import ListedPlan
from enginecrate.values import Digest, PlanInfo

__all__ = ["find_plans", "plan_problems"]


def find_plans(contents: Contents) -> tuple[ListedPlan, ...]:
    """The plans of an image for one platform, sorted by key.

    Raises:
        ReleaseInvalid: a sidecar is malformed, or a plan's bytes are not what it says.
    """
    plans = []
    for path, data in contents.kept.items():
        if not (path.startswith(PLANS) and path.endswith("/plan.json")):
            continue
        folder = path.rpartition("/")[0]
        info = _sidecar(data, path)
        expected = {_main(info): info.plan_digest, **info.files}
        for name, digest in expected.items():
            if contents.files.get(f"{folder}/{name}") != digest:
                raise ReleaseInvalid(
                    f"{folder}/{name} in the image is not the plan that {path} describes"
                )
        plans.append(
            ListedPlan(
                key=folder[len(PLANS) :],
                backend=info.backend,
                device=info.device,
                precision=str(info.precision),
                digest=info.plan_digest,
                sidecar=Digest.of(data),
            )
        )
    return tuple(sorted(plans, key=lambda one: one.key))


def plan_problems(
    platform: str, present: Iterable[ListedPlan], listed: Iterable[ListedPlan]
) -> list[str]:
    """Plans of a platform that the release does not list, or lists otherwise."""
    have = {one.key: one for one in present}
    want = {one.key: one for one in listed}
    problems = []
    for key in sorted(have.keys() | want.keys()):
        plan, expected = have.get(key), want.get(key)
        if plan == expected:
            continue
        if expected is None:
            problems.append(f"the plan {key} of {platform} is not in the signed release")
        elif plan is None:
            problems.append(f"the plan {key} of {platform} is missing from the image")
        else:
            problems.append(
                f"the plan {key} of {platform} was swapped: the release lists {expected.digest}, "
                f"and {plan.digest} is in the image"
            )
    return problems


def _sidecar(data: bytes, path: str) -> PlanInfo:
    try:
        return msgspec.json.decode(data, type=PlanInfo)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise ReleaseInvalid(f"{path} in the image does not describe a plan: {exc}") from exc


def _main(info: PlanInfo) -> str:
    return "plan.onnx" if info.backend == "onnxruntime" else "plan.engine"
