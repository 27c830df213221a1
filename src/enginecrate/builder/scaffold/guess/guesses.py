"""Guesses: a value for a key of `[pipeline]`, the reason, and how sure it is."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import msgspec

from enginecrate.values import PipelineSpec

__all__ = ["Answers", "Certainty", "Guess", "Setup", "make_spec"]

Certainty = Literal["sure", "likely", "unknown"]
"""`sure`: the graph, the metadata or the numbers say so, or the user. `likely`: the custom of the
field. `unknown`: somebody has to say; the value is a proposal."""


class Guess(msgspec.Struct, frozen=True):
    """One guess.

    reason: what it was concluded from, as the end of a sentence.
    others: what else may stand there, for a comment in the manifest.
    flag: the option of `init` that answers it; only for those that may be unknown.
    """

    key: str
    value: Any
    reason: str
    certainty: Certainty
    others: tuple[str, ...] = ()
    flag: str = ""

    @property
    def shown(self) -> dict[str, object]:
        """The guess as `--json` shows it."""
        return {
            "key": self.key,
            "value": self.value,
            "certainty": self.certainty,
            "reason": self.reason,
            "others": list(self.others),
        }


class Answers(msgspec.Struct, frozen=True, kw_only=True):
    """What the user says; `None` where the model shall tell.

    labels: the number of class names that the user gives; 0 when there are none.
    """

    task: Literal["classification", "detection", "image", "tensors"] | None = None
    size: tuple[int, int] | None = None
    activation: Literal["softmax", "sigmoid", "none"] | None = None
    decoder: str | None = None
    layout: Literal["nchw", "nhwc"] | None = None
    color: Literal["rgb", "bgr", "gray"] | None = None
    constants: dict[str, Any] = {}
    labels: int = 0


class Setup(msgspec.Struct, frozen=True, kw_only=True):
    """A whole set-up.

    spec: with the proposal where something is unknown.
    guesses: the keys that somebody may want to correct, in the order of the manifest.
    labels: class names that the model brings along; labels_reason: where they are in it, or why
        those that are there are not used.
    """

    spec: PipelineSpec
    guesses: tuple[Guess, ...]
    labels: tuple[str, ...] = ()
    labels_reason: str = ""

    @property
    def unknown(self) -> tuple[Guess, ...]:
        """The guesses that somebody has to answer."""
        return tuple(guess for guess in self.guesses if guess.certainty == "unknown")

    @property
    def reasons(self) -> tuple[str, ...]:
        """Every guess in words."""
        return tuple(_sentence(guess) for guess in self.guesses)


def make_spec(guesses: Iterable[Guess]) -> PipelineSpec:
    """The `[pipeline]` section with all guesses in it."""
    return PipelineSpec(**{guess.key: guess.value for guess in guesses})


def _sentence(guess: Guess) -> str:
    return f"{guess.key} = {_words(guess.value)} ({guess.certainty}): {guess.reason}"


def _words(value: object) -> str:
    """A value as TOML shows it."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_words(item)}" for key, item in value.items()) + " }"
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple | list):
        return "[" + ", ".join(map(_words, value)) + "]"
    return str(value)
