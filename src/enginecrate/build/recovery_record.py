"""What a recovery did, for reports."""

from __future__ import annotations

import msgspec

from enginecrate.builder.accuracy.figures import Figure

__all__ = ["KeptLayer", "Recovery", "RecoveryStep"]


class KeptLayer(msgspec.Struct, frozen=True, kw_only=True):
    """A layer that stays in a higher precision.

    error: relative L2 distance of the outputs when this layer alone is quantised.
    share: of the model's multiply-adds.
    """

    node: str
    operator: str
    error: float
    share: float


class RecoveryStep(msgspec.Struct, frozen=True, kw_only=True):
    """One try: what was done, how many layers were kept, and what came of it."""

    action: str
    kept: int
    share: float
    agreement: Figure


class Recovery(msgspec.Struct, frozen=True, kw_only=True):
    """What was done until the gate passed.

    steps: in order; the last one is what is shipped.
    kept: layers in a higher precision, most sensitive first.
    share: of the multiply-adds that stay in the low precision, 0..1.
    """

    steps: tuple[RecoveryStep, ...]
    kept: tuple[KeptLayer, ...]
    share: float
