"""The payloads of a load run: golden samples, photos, or tensors; and the check of answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from enginecrate.bench.exchange import ask_json, post
from enginecrate.bench.result import Check, Reference
from enginecrate.bench.tensors import (
    binary_payload,
    json_payload,
    made_tensors,
    parse_inputs,
    tensors_differ,
)
from enginecrate.bench.wire import RESULTS, Address, Payload, Span, parse_address
from enginecrate.cli.serving.bench_options import BodyOptions, Protocol
from enginecrate.cli.shared.options import read_input
from enginecrate.errors import EnginecrateError, ServerUnreachable, UsageError
from enginecrate.pipelines.tensors import read_npz

if TYPE_CHECKING:
    from enginecrate.values import Tensors

__all__ = ["Body", "make_body"]

_PREDICT = "/v1/predict"
_MOST_BYTES = 2**31
_MADE = 4
"""Different payloads of random numbers, so that an answer to another one is noticed."""


@dataclass(frozen=True, slots=True)
class Body:
    """What is sent where, and how answers are judged. statistics: of the server, over a run."""

    address: Address
    payloads: Sequence[Payload]
    check: Check | None
    reference: Reference
    stable: Span | None
    statistics: Address


def make_body(options: BodyOptions, project: Path) -> Callable[[str], Body]:
    """The body of the requests, once the URL of the server is known.

    The function that is given raises `ServerUnreachable` when a v2 server does not describe its
    model, or does not take the payload.

    Args:
        options: as given.
        project: whose golden samples are sent by default.

    Raises:
        UsageError: the options do not fit together, or there is nothing to send.
    """
    if options.protocol is not Protocol.PREDICT:
        if options.photo:
            raise UsageError("--photo goes with --protocol predict; v2 takes --tensors FILE.npz")
        shapes = dict(_shape(text) for text in options.shape or ())
        return lambda root: _v2_body(root, options, shapes)
    _refuse(options)
    payloads, check = _photos(project, options.photo or [])
    return lambda root: Body(
        address=parse_address(root, _PREDICT),
        payloads=payloads,
        check=check,
        reference="golden" if check else "none",
        stable=RESULTS,
        statistics=parse_address(root, "/v2/models/stats"),
    )


def _refuse(options: BodyOptions) -> None:
    given = [
        f"--{name}" for name in ("model", "tensors", "shape") if getattr(options, name) is not None
    ]
    if given:
        raise UsageError(f"{', '.join(given)}: only with --protocol v2-json or v2-binary")


def _photos(project: Path, photos: Sequence[Path]) -> tuple[list[Payload], Check | None]:
    if photos:
        return [Payload(str(file), read_input(file)) for file in photos], None
    from enginecrate.builder.golden.samples import load_golden
    from enginecrate.manifest import load_manifest

    file = load_manifest(project)
    samples = load_golden(file.root / file.manifest.precision.accuracy.golden)
    if not samples:
        raise UsageError("the project has no golden samples; name a photo: --photo FILE")
    return [Payload(sample.name, sample.payload) for sample in samples], _golden_check(samples)


def _golden_check(samples: Sequence[object]) -> Check:
    import msgspec

    from enginecrate.builder.golden.samples import GoldenSample, as_result, check_sample

    known = {sample.name: sample for sample in samples if isinstance(sample, GoldenSample)}

    def check(name: str, part: bytes) -> str:
        try:
            (result,) = msgspec.json.decode(part)
            outcome = check_sample(known[name], as_result(result))
        except (msgspec.MsgspecError, EnginecrateError, KeyError, TypeError, ValueError) as exc:
            return f"no result ({exc})"
        return "; ".join(outcome.reasons)

    return check


def _v2_body(root: str, options: BodyOptions, shapes: Mapping[str, Sequence[int]]) -> Body:
    name = options.model or _first_model(root)
    model = f"/v2/models/{name}"
    make = json_payload if options.protocol is Protocol.JSON else binary_payload
    if options.tensors:
        payloads = [make(str(file), _read_tensors(file)) for file in options.tensors]
    else:
        inputs = parse_inputs(ask_json(parse_address(root, model)))
        payloads = [
            make(f"random {seed}", made_tensors(inputs, shapes, batch=options.batch, seed=seed))
            for seed in range(1, _MADE + 1)
        ]
    address = parse_address(root, f"{model}/infer")
    right = {payload.name: post(address, payload) for payload in payloads}
    statistics = parse_address(root, f"{model}/stats")
    return Body(address, payloads, _alone_check(right), "alone", None, statistics)


def _alone_check(right: Mapping[str, bytes]) -> Check:
    return lambda name, part: tensors_differ(right[name], part)


def _first_model(root: str) -> str:
    try:
        return str(ask_json(parse_address(root, "/v2/models"))["models"][0])
    except (ServerUnreachable, KeyError, IndexError, TypeError) as exc:
        if isinstance(exc, ServerUnreachable) and "cannot reach" in str(exc):
            raise
        raise UsageError("the server does not list its models; name one: --model NAME") from exc


def _read_tensors(path: Path) -> Tensors:
    return read_npz(read_input(path), _MOST_BYTES)


def _shape(text: str) -> tuple[str, tuple[int, ...]]:
    name, _, sizes = text.rpartition(":")
    try:
        shape = tuple(int(size) for size in sizes.split(","))
    except ValueError:
        shape = ()
    if not name or not shape or min(shape) < 1:
        raise UsageError(f"--shape {text}: write an input and its sizes, such as x:1,3,224,224")
    return name, shape
