"""Rules about secrets: in files of all layers, and in the configuration. They never show them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial

from enginecrate.image.audit.rules.secret_scanner import is_placeholder, load_scanner
from enginecrate.image.audit.rules.subject import Breach, Subject

__all__ = ["CHECKS"]

_HIDDEN = "EC-IMG-035"
_CREDENTIAL = re.compile(
    r"(?i)(?:.*_)?(?:password|passwd|passphrase|pwd|secret|token|api_?key|access_?key|secret_?key"
    r"|private_?key|credentials?|auth_?key|account_?key)(?:_(?:id|key|value|base64|b64))?"
)
_NO_SECRET = re.compile(r"(?i)/.*|\d{1,6}|true|false|yes|no|on|off|none|[a-z]+://[^@]*")
_ASSIGNMENT = re.compile(r"(?<![\w$-])([A-Za-z_]\w{2,60})=(\"[^\"]*\"|'[^']*'|[^\s\"';&|]+)")
_FILE_RULES = ("EC-IMG-030", "EC-IMG-031", "EC-IMG-032", "EC-IMG-033", "EC-IMG-034", _HIDDEN)


def _files(rule: str, image: Subject) -> Iterator[Breach]:
    scanner = load_scanner()
    for entry, match in image.secrets:
        visible = image.files.is_visible(entry)
        if match.rule == rule if visible else rule == _HIDDEN:
            words = match.what
            if not visible:
                words += f", in a file that {_hider(image, entry.inode)} removes or replaces"
            reason = scanner.reason_to_allow(entry.path, match.kind)
            yield Breach(words, entry.path, entry.layer, match.line, reason)


def _hider(image: Subject, inode: int) -> str:
    layers = [one.by for one in image.files.hidden if one.entry.inode == inode]
    return f"layer {max(layers) + 1}" if layers else "a later layer"


def _environment(image: Subject) -> Iterator[Breach]:
    for name, value in sorted(image.environment.items()):
        for match in load_scanner().search_text(f"{name}={value}"):
            yield Breach(f"the variable {name} holds {match.what}")


def _credential_names(image: Subject) -> Iterator[Breach]:
    for name, value in sorted(image.environment.items()):
        if _is_credential(name, value) and not load_scanner().search_text(f"{name}={value}"):
            yield Breach(f"the variable {name} has a value")


def _labels(image: Subject) -> Iterator[Breach]:
    for name, value in sorted(image.labels.items()):
        matches = load_scanner().search_text(f"{name}={value}")
        last = re.split(r"[./]", name)[-1]
        if matches:
            yield Breach(f"{name} holds {matches[0].what}")
        elif _is_credential(last.replace("-", "_"), value):
            yield Breach(f"{name} has the name of a credential, and a value")


def _history(image: Subject) -> Iterator[Breach]:
    for number, step in enumerate(image.config.history, 1):
        command = step.created_by
        names = [
            name
            for name, value in _ASSIGNMENT.findall(command)
            # What is in the environment, too, is told there.
            if _is_credential(name, value.strip("\"'")) and name not in image.environment
        ]
        sentences = [f"{name} has a value" for name in sorted(set(names))]
        if not sentences and not any(f"{n}={v}" in command for n, v in image.environment.items()):
            sentences = [f"it holds {match.what}" for match in load_scanner().search_text(command)]
        for words in sentences:
            yield Breach(f"step {number}: {words}")


def _is_credential(name: str, value: str) -> bool:
    return (
        _CREDENTIAL.fullmatch(name) is not None
        and bool(value)
        and not _NO_SECRET.fullmatch(value)
        and not is_placeholder(value.encode())
    )


CHECKS: Mapping[str, Callable[[Subject], Iterator[Breach]]] = {
    **{rule: partial(_files, rule) for rule in _FILE_RULES},
    "EC-IMG-036": _environment,
    "EC-IMG-037": _credential_names,
    "EC-IMG-038": _labels,
    "EC-IMG-039": _history,
}
