"""What a server and the process that builds for it tell each other: lines of JSON."""

from __future__ import annotations

from typing import Any

import msgspec

from enginecrate.errors import EnginecrateError, error_class
from enginecrate.values import PlanInfo, Precision

__all__ = ["Built", "BuiltInMemory", "Failed", "Job", "Noted", "Stepped", "Told", "error_of"]


class Job(msgspec.Struct, frozen=True):
    """What to build: a target of a project. `spare`: file that takes the plan if no disk does."""

    project: str
    stack: str
    rung: int
    device: str
    precision: Precision
    settings: dict[str, Any]
    spare: int


class Stepped(msgspec.Struct, frozen=True, tag=True):
    """How far it is, as a `Progress`."""

    step: str
    done: int
    total: int


class Noted(msgspec.Struct, frozen=True, tag=True):
    """A log record. `level`: as in `logging`."""

    level: int
    message: str


class Built(msgspec.Struct, frozen=True, tag=True):
    """The plan is in the cache, under this key."""

    key: str


class BuiltInMemory(msgspec.Struct, frozen=True, tag=True):
    """The cache had no room: the plan is in the spare file."""

    info: PlanInfo


class Failed(msgspec.Struct, frozen=True, tag=True):
    """There is no plan. `code`: of an `EnginecrateError`."""

    code: str
    message: str


Told = Stepped | Noted | Built | BuiltInMemory | Failed


def error_of(failed: Failed) -> EnginecrateError:
    """The error that was raised in the other process, without its own attributes."""
    kind = error_class(failed.code)
    error = kind.__new__(kind, failed.message)
    Exception.__init__(error, failed.message)
    return error
