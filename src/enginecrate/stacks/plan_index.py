"""The index of the plans that came with an app, as an image holds them.

<plans>/<key>/plan.json, plan.onnx or plan.engine     as in the cache of the machine that built it
<plans>/index/<stack>-<device>.json                   the plans for one device

One index file lies in the same layer as the plans that it names, so that layers stay independent.
`image/recipe/plans.py` writes them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec

from enginecrate.errors import PlanInvalid
from enginecrate.values import Precision

__all__ = ["SIDECAR", "ShippedPlan", "read_index"]

SIDECAR = "plan.json"
"""Beside a plan: everything that is known of it (`values.PlanInfo`)."""

_INDEX = "index"
_FORMAT = 1


class ShippedPlan(msgspec.Struct, frozen=True, kw_only=True):
    """One plan.

    key: name of its folder. precision: its own. digest: of its main file. sidecar: of `plan.json`.
    """

    key: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
    precision: Precision
    digest: str
    sidecar: str


class _Index(msgspec.Struct, frozen=True, kw_only=True):
    format: int
    stack: str
    device: str
    plans: tuple[ShippedPlan, ...]


def read_index(folder: Path, stack: str, device: str) -> tuple[ShippedPlan, ...]:
    """The plans that a folder has for one kind of device; none when it has no index for it.

    Raises:
        PlanInvalid: the index cannot be read, is damaged, or is of another format or device.
    """
    file = folder / _INDEX / f"{stack}-{device}.json"
    try:
        index = msgspec.json.decode(file.read_bytes(), type=_Index)
    except FileNotFoundError:
        return ()
    except OSError as exc:
        raise PlanInvalid(f"cannot read the index of plans {file}: {exc.strerror}") from exc
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise PlanInvalid(f"{file} is not an index of plans: {exc}; pull the image again") from exc
    if index.format != _FORMAT:
        raise PlanInvalid(f"{file} has format {index.format}, and this version reads {_FORMAT}")
    if (index.stack, index.device) != (stack, device):
        raise PlanInvalid(f"{file} is about {index.device} of the stack {index.stack}")
    return index.plans
