"""Rules about secrets: in files of all layers, and in the configuration. They never show them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from enginecrate.image.audit.rules.secret_scanner import is_placeholder, load_scanner
from enginecrate.image.audit.rules.subject import Breach, Subject

if TYPE_CHECKING:
    from enginecrate.image.reading.filesystem import Entry

__all__ = ["CHECKS"]

_HIDDEN = "EC-IMG-035"
_LEAST_WORD = 12
"""No secret that its form betrays is shorter."""
_CREDENTIAL = re.compile(
    r"(?i)(?:.*_)?(?:password|passwd|passphrase|pwd|secret|token|api_?key|access_?key|secret_?key"
    r"|private_?key|credentials?|auth_?key|account_?key)(?:_(?:id|key|value|base64|b64))?"
)
_NO_SECRET = re.compile(r"(?i)/.*|\d{1,6}|true|false|yes|no|on|off|none|[a-z]+://[^@]*")
_ASSIGNMENT = re.compile(r"(?<![\w$-])([A-Za-z_]\w{2,60})=(\"[^\"]*\"|'[^']*'|[^\s\"';&|]+)")
_OPTION = re.compile(
    r"(?<!\S)--?([A-Za-z][\w-]{2,60})(?:=|\s+)(\"[^\"]*\"|'[^']*'|[^\s\"';&|-][^\s\"';&|]*)"
)
_FILE_RULES = (
    "EC-IMG-030", "EC-IMG-031", "EC-IMG-032", "EC-IMG-033", "EC-IMG-034", "EC-IMG-057", _HIDDEN,
)  # fmt: skip


def _files(rule: str, image: Subject) -> Iterator[Breach]:
    scanner = load_scanner()
    for entry, match in image.secrets:
        visible = image.files.is_visible(entry)
        if match.rule == rule if visible else rule == _HIDDEN:
            words = match.what
            if not visible:
                words += f", in a file that {_hider(image, entry.inode)} removes or replaces"
            unchanged = entry.inode in image.unchanged
            reason = scanner.reason_to_allow(entry.path, match.kind, unchanged=unchanged)
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
    told = [f"{name}={value}" for name, value in image.environment.items()]
    for number, step in enumerate(image.config.history, 1):
        for command in filter(None, (step.created_by, step.comment)):
            # What is in the environment or the command, too, is told there.
            names = {name for name, _ in _credentials(command) if name not in image.environment}
            sentences = [f"{name} has a value" for name in sorted(names)]
            words = [word for word in image.command if len(word) >= _LEAST_WORD]
            if not sentences and not any(text in command for text in (*told, *words)):
                sentences = [f"it holds {one.what}" for one in load_scanner().search_text(command)]
            for sentence in sentences:
                yield Breach(f"step {number}: {sentence}")


def _start(image: Subject) -> Iterator[Breach]:
    config = image.config.config
    test = config.healthcheck.get("Test")
    parts: Mapping[str, Sequence[object]] = {
        "the entry point": config.entrypoint,
        "the command": config.cmd,
        "the health check": test if isinstance(test, list) else (),
        "an instruction for later builds": config.on_build,
        "the shell": config.shell,
        "the working folder": (config.working_dir,),
        "the user": (config.user,),
        "a volume": tuple(config.volumes),
        "the author": (image.config.author,),
    }
    for name, words in parts.items():
        text = " ".join(word for word in words if isinstance(word, str))
        matches = load_scanner().search_text(text)
        credentials = [] if matches else sorted({name for name, _ in _credentials(text)})
        for what in dict.fromkeys(match.what for match in matches):
            yield Breach(f"{name} holds {what}")
        for option in credentials:
            yield Breach(f"{name} gives a value to {option}")


def _credentials(command: str) -> Iterator[tuple[str, str]]:
    """Variables and options of a command that have the name of a credential, and a value."""
    for name, quoted in (*_ASSIGNMENT.findall(command), *_OPTION.findall(command)):
        value = quoted.strip("\"'")
        if _is_credential(name.replace("-", "_"), value):
            yield name, value


def _names(image: Subject) -> Iterator[Breach]:
    """What is no content of a file: its name, the target of a link, extended attributes."""
    hidden = (one.entry for one in image.files.hidden)
    told: set[str] = set()
    for entry in (*image.files, *hidden):
        for words in _secrets_around(entry):
            if entry.path not in told:
                told.add(entry.path)
                yield Breach.at(entry, words)


def _secrets_around(entry: Entry) -> Iterator[str]:
    scanner = load_scanner()
    name = entry.path.rpartition("/")[2]
    if len(name) >= _LEAST_WORD:
        for match in scanner.search_name(name):
            yield f"its name holds {match.what}"
    if len(entry.target) >= _LEAST_WORD:
        for match in scanner.search_text(entry.target):
            yield f"the target of the link holds {match.what}"
    for key, value in entry.xattrs.items():
        for match in scanner.search_bytes(b"%s=%s" % (key.encode("utf-8", "replace"), value)):
            yield f"an extended attribute holds {match.what}"


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
    "EC-IMG-056": _start,
    "EC-IMG-063": _names,
}
