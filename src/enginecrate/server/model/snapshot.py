"""The state of a model at one moment, as the engine process tells it to front ends."""

from __future__ import annotations

from typing import Any

import msgspec

from enginecrate.builder.trial.findings import TrialFacts
from enginecrate.server.model.served_model import ServedModel
from enginecrate.server.model.serving import LoadedModel
from enginecrate.values import PlanInfo

__all__ = ["GoldenFacts", "ModelSnapshot", "PlanFacts", "snapshot"]


class PlanFacts(msgspec.Struct, frozen=True):
    """The plan that serves.

    number: as requests name it.
    max_batch: as the signature has it.
    """

    number: int
    info: PlanInfo
    max_batch: int
    labels: list[str]
    instances: int
    one_by_one: str


class GoldenFacts(msgspec.Struct, frozen=True):
    """The outcome of one golden sample."""

    name: str
    passed: bool
    reasons: tuple[str, ...]


class ModelSnapshot(msgspec.Struct, frozen=True):
    """Everything that a front end tells of the model.

    serves: requests are taken. `plan` is what serves, or what was looked at last.
    build: the rung that is being built, and its share, 0 to 1.
    """

    state: str
    reason: str
    serves: bool
    golden_state: str
    golden: list[GoldenFacts] | None
    trial: TrialFacts | None
    load_seconds: float
    plan: PlanFacts | None
    ladder: dict[str, Any]
    build: tuple[str, float] | None


def snapshot(model: ServedModel, plan_number: int) -> ModelSnapshot:
    """The state of a model now.

    Args:
        model: in the engine process.
        plan_number: of the plan that serves; 0: none has served yet.
    """
    loaded, golden = model.loaded, model.golden
    return ModelSnapshot(
        state=model.state,
        reason=model.reason,
        serves=model.is_serving,
        golden_state=model.golden_state,
        golden=None
        if golden is None
        else [GoldenFacts(each.name, each.passed, tuple(each.reasons)) for each in golden.outcomes],
        trial=model.trial,
        load_seconds=model.load_seconds,
        plan=None if loaded is None else _plan_facts(loaded, plan_number),
        ladder=model.ladder.as_dict(),
        build=model.ladder.build,
    )


def _plan_facts(loaded: LoadedModel, number: int) -> PlanFacts:
    return PlanFacts(
        number=number,
        info=loaded.info,
        max_batch=loaded.signature.max_batch,
        labels=list(loaded.labels),
        instances=loaded.instances,
        one_by_one=loaded.one_by_one,
    )
