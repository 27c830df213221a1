"""Which optimization profile runs inputs of given shapes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from enginecrate.errors import TensorMismatch
from enginecrate.values import Profile

__all__ = ["choose_profile"]

Shape = tuple[int, ...]


def choose_profile(profiles: Sequence[Profile], shapes: Mapping[str, Shape], active: int) -> int:
    """The profile to use: the active one when it fits, since switching costs time; else the
    fitting one whose `opt` shapes are nearest in size.

    Args:
        profiles: of the plan, in its order; empty when all shapes are static.
        shapes: of the inputs.
        active: number of the profile that is in use.

    Raises:
        TensorMismatch: no profile allows these shapes; the message says what they allow.
    """
    if not profiles:
        return 0
    fitting = [n for n, profile in enumerate(profiles) if _fits(profile, shapes)]
    if not fitting:
        raise TensorMismatch(_refusal(profiles, shapes))
    if active in fitting:
        return active
    return min(fitting, key=lambda number: (_distance(profiles[number], shapes), number))


def _fits(profile: Profile, shapes: Mapping[str, Shape]) -> bool:
    return all(
        len(low) == len(shapes[name])
        and all(a <= n <= b for a, n, b in zip(low, shapes[name], high, strict=True))
        for name, (low, _, high) in profile.items()
    )


def _distance(profile: Profile, shapes: Mapping[str, Shape]) -> int:
    return sum(
        abs(best - have)
        for name, (_, opt, _) in profile.items()
        for best, have in zip(opt, shapes[name], strict=True)
    )


def _refusal(profiles: Sequence[Profile], shapes: Mapping[str, Shape]) -> str:
    names = list(profiles[0])
    given = ", ".join(f"{name} {_text(shapes[name])}" for name in names)
    allowed = "; ".join(
        ", ".join(f"{name} {_text(low)} to {_text(high)}" for name, (low, _, high) in one.items())
        for one in profiles
    )
    return (
        f"no optimization profile of the plan takes {given}; it takes {allowed}; send such shapes, "
        "or widen model.profiles in the manifest and build again"
    )


def _text(shape: Shape) -> str:
    return f"[{','.join(map(str, shape))}]"
