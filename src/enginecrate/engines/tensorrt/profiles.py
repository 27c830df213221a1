"""Check optimization profiles against a model before a builder sees them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from enginecrate.errors import PlanBuildFailed, nearest
from enginecrate.graph.model import OnnxModel
from enginecrate.values import Profile, TensorSpec

__all__ = ["check_profiles"]

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
