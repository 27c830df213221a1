"""Optimization profiles: check them before a builder sees them, choose one for each run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from enginecrate.errors import PlanBuildFailed, TensorMismatch, nearest
from enginecrate.graph.onnx.model import OnnxModel
from enginecrate.values import Profile, TensorSpec

__all__ = ["check_profiles", "choose_profile"]

Shape = tuple[int, ...]

_CURE = "correct model.profiles in the manifest"


def check_profiles(
    model: OnnxModel, profiles: Sequence[Profile]
) -> tuple[dict[str, tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]], ...]:
    """The profiles with the dynamic inputs alone, in the order of the inputs.

    Static inputs may be named with their one shape; TensorRT needs no profile for them.

    Raises:
        PlanBuildFailed: a dynamic input has no shapes, or shapes that do not fit it; the message
            names the profile (from 0), the input and what to correct.
    """
    dynamic = [spec for spec in model.inputs if -1 in spec.shape]
    if not dynamic:
        _check_all(model, profiles)
        return ()
    if not profiles:
        first = dynamic[0]
        raise PlanBuildFailed(
            f"input {first.name!r} has dynamic dimensions {_text(first.shape)}, and TensorRT needs "
            "to know how large they get; give min, opt and max shapes as model.profiles in the "
            f"manifest, for example [{{ {first.name} = [{_example(first.shape)}] }}]"
        )
    _check_all(model, profiles)
    for number, profile in enumerate(profiles):
        for spec in dynamic:
            if spec.name not in profile:
                raise PlanBuildFailed(
                    f"profile {number} has no shapes for the dynamic input {spec.name!r} "
                    f"{_text(spec.shape)}; {_CURE}"
                )
    return tuple({spec.name: profile[spec.name] for spec in dynamic} for profile in profiles)


def _check_all(model: OnnxModel, profiles: Sequence[Profile]) -> None:
    specs: Mapping[str, TensorSpec] = {spec.name: spec for spec in model.inputs}
    for number, profile in enumerate(profiles):
        for name, shapes in profile.items():
            if name not in specs:
                raise PlanBuildFailed(
                    f"profile {number} names the input {name!r}, which the model does not have"
                    f"{nearest(name, specs)}; {_CURE}"
                )
            _check_shapes(f"profile {number}, input {name!r}", specs[name], shapes)


def _check_shapes(where: str, spec: TensorSpec, shapes: Sequence[tuple[int, ...]]) -> None:
    for word, shape in zip(("min", "opt", "max"), shapes, strict=True):
        fits = len(shape) == len(spec.shape) and all(
            want in (-1, have) and have >= 0 for want, have in zip(spec.shape, shape, strict=True)
        )
        if not fits:
            raise PlanBuildFailed(
                f"{where}: the {word} shape {_text(shape)} does not fit the model's "
                f"{_text(spec.shape)}; {_CURE}"
            )
    low, best, high = shapes
    if any(not a <= b <= c for a, b, c in zip(low, best, high, strict=True)):
        raise PlanBuildFailed(
            f"{where}: min {_text(low)}, opt {_text(best)}, max {_text(high)} are out of order; "
            f"every dimension needs min <= opt <= max; {_CURE}"
        )


def _text(shape: Sequence[int]) -> str:
    return f"[{','.join(map(str, shape))}]"


def _example(shape: Sequence[int]) -> str:
    return ", ".join(_text([size if size >= 0 else fill for size in shape]) for fill in (1, 8, 32))


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
