"""What `init` asks in a terminal, and how answers are read."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec
import typer

from enginecrate.builder.scaffold.guess.guesses import Answers, Guess
from enginecrate.builder.scaffold.manifest_text import toml_value
from enginecrate.errors import UsageError

__all__ = ["ask", "parse_constants", "parse_size"]

_CHOICES = {
    "activation": ("softmax", "sigmoid", "none"),
    "decoder_options": ("softmax", "sigmoid", "none"),
    "task": ("classification", "detection", "image", "tensors"),
}


def ask(guess: Guess, answers: Answers) -> Answers:
    """Ask about one guess until the answer can be read; the proposal is the default.

    Ctrl-C and the end of the input end the program.
    """
    typer.echo(f"\n{guess.key}: {guess.reason}.")
    for other in guess.others:
        typer.echo(f"  or: {other}")
    while True:
        try:
            return _answered(guess, answers)
        except UsageError as exc:
            typer.echo(str(exc))


def parse_size(text: str) -> tuple[int, int]:
    """`224x320` is a height of 224 and a width of 320; `224` is both.

    Raises:
        UsageError: it is neither.
    """
    match = re.fullmatch(r"\s*(\d{1,5})(?:\s*[xX,]\s*(\d{1,5}))?\s*", text)
    if match is None or int(match[1]) < 1 or int(match[2] or 1) < 1:
        raise UsageError(
            f"--size {text!r} is no size; give height and width in pixels, for example 224x224"
        )
    return int(match[1]), int(match[2] or match[1])


def parse_constants(texts: Sequence[str]) -> dict[str, Any]:
    """`scale_factor=[[1.0, 1.0]]`: an input's name, and its value as JSON.

    Raises:
        UsageError: there is no equals sign, or no JSON behind it.
    """
    constants: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.rpartition("=")
        try:
            constants[name] = msgspec.json.decode(value)
        except msgspec.DecodeError as exc:
            raise UsageError(
                f"--constant {text!r}: {exc}; give INPUT=VALUE, for example "
                "scale_factor=[[1.0,1.0]]"
            ) from exc
        if not equals or not name:
            raise UsageError(f"--constant {text!r} names no input; give INPUT=VALUE")
    return constants


def _answered(guess: Guess, answers: Answers) -> Answers:
    change = msgspec.structs.replace
    if guess.key == "size":
        proposal = f"{guess.value[0]}x{guess.value[1]}"
        return change(answers, size=parse_size(typer.prompt("Height x width", default=proposal)))
    if guess.key == "constants":
        name = guess.flag.partition(" ")[2].removesuffix("=VALUE")
        text = typer.prompt(f"Value of {name}", default=toml_value(guess.value[name]))
        return change(answers, constants=answers.constants | parse_constants([f"{name}={text}"]))
    if guess.flag.startswith("--labels"):
        return change(answers, labels=typer.prompt("Number of classes", type=int))
    choices = _CHOICES[guess.key]
    proposal = guess.value if guess.key in ("task", "activation") else "softmax"
    text = typer.prompt(f"{' / '.join(choices)}", default=proposal).strip().lower()
    if text not in choices:
        raise UsageError(f"{text!r} is none of them")
    key = "task" if guess.key == "task" else "activation"
    return change(answers, **{key: text})
