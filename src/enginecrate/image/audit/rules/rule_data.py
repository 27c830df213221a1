"""The tables of the audit: rules, programs and telemetry, read from `data/` and checked."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import TypeVar

import msgspec

__all__ = [
    "Programs",
    "Rule",
    "Severity",
    "load_programs",
    "load_rules",
    "load_telemetry",
    "read_table",
]

_DATA = Path(__file__).parent / "data"

_T = TypeVar("_T")


class Severity(StrEnum):
    """Severities of findings, worst first."""

    CRITICAL = "critical"
    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"
    INFO = "info"

    @property
    def rank(self) -> int:
        """0 is the worst."""
        return list(Severity).index(self)


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A demand on images. Every field but `id` and `severity` is a text for people."""

    id: str
    title: str
    severity: Severity
    looks_at: str
    why: str
    sources: tuple[str, ...]
    cure: str


class Programs(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Programs that one rule forbids; data/programs.toml explains the fields."""

    rule: str
    what: str
    names: frozenset[str] = frozenset()
    patterns: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    anywhere: bool = False

    def program_pattern(self) -> re.Pattern[str]:
        """Matches the whole name of a program."""
        return re.compile("|".join(f"(?:{one})" for one in self.patterns) or r"(?!)")

    def file_pattern(self) -> re.Pattern[str]:
        """Matches the whole path of a file."""
        return re.compile("|".join(f"(?:{one})" for one in self.files) or r"(?!)")


class _Telemetry(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A package that sends data or looks for updates, and the variables that stop it."""

    name: str
    variables: tuple[str, ...]
    values: frozenset[str]
    source: str


@cache
def load_rules() -> Mapping[str, Rule]:
    """All rules by their ids, sorted."""
    rules = read_table("rules.toml", dict[str, tuple[Rule, ...]])["rules"]
    return {rule.id: rule for rule in sorted(rules, key=lambda rule: rule.id)}


@cache
def load_programs() -> tuple[Programs, ...]:
    """The programs that rules forbid."""
    return read_table("programs.toml", dict[str, tuple[Programs, ...]])["programs"]


@cache
def load_telemetry() -> Mapping[str, _Telemetry]:
    """Packages that send data, by their normalized names."""
    packages = read_table("telemetry.toml", dict[str, tuple[_Telemetry, ...]])["packages"]
    return {package.name: package for package in packages}


def read_table(name: str, kind: type[_T]) -> _T:
    """A data file as a value of `kind`."""
    return msgspec.toml.decode((_DATA / name).read_bytes(), type=kind)
