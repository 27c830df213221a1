"""Rules about how the container starts: ports, command, health, environment."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence

from enginecrate.image.audit.rules.redaction import redact
from enginecrate.image.audit.rules.rule_data import load_telemetry
from enginecrate.image.audit.rules.subject import Breach, Subject
from enginecrate.values import canonical_name

__all__ = ["CHECKS"]

_PORTS = "io.enginecrate.ports"
_DEFAULT_PORTS = "8000,8001,8002"
_SHELLS = re.compile(r"(?:.*/)?(?:sh|ash|bash|busybox|csh|dash|ksh|fish|tcsh|zsh)")
_WRAPPERS = re.compile(
    r"(?:.*/)?(?:env|tini|tini-static|dumb-init|catatonit|docker-init|exec|nice|nohup|setsid|stdbuf|time"
    r"|timeout|chpst|su-exec|gosu|setpriv|s6-setuidgid)|--"
)
_PYTHON = re.compile(r"(?:.*/)?python[0-9.]*")
_SOCKET = re.compile(r"(?:docker|containerd|podman|crio)\.sock\b")
_SIGNALS = re.compile(
    r"(?:SIG)?(?:HUP|INT|QUIT|ABRT|USR1|USR2|ALRM|TERM|WINCH|PWR|RTMIN(?:\+\d+)?|RTMAX(?:-\d+)?)"
    r"|1|2|3|6|10|12|14|15|28|30|3[4-9]|[45]\d|6[0-4]"
)
_SEARCH_PATHS = ("PATH", "LD_LIBRARY_PATH", "PYTHONPATH")
_DIST_INFO = re.compile(r"(?:.*/)?([^/]+?)-[^/-]+\.dist-info/METADATA")


def _ports(image: Subject) -> Iterator[tuple[str, int]]:
    """Exposed ports as they are written, with their first number."""
    for text in sorted(image.config.config.exposed_ports):
        number = re.match(r"\d+", text)
        yield text, int(number[0]) if number else 0


def _undeclared(image: Subject) -> Iterator[Breach]:
    declared = set(re.findall(r"\d+", image.labels.get(_PORTS, _DEFAULT_PORTS)))
    for text, number in _ports(image):
        # Lower ones have a rule of their own.
        if number >= 1024 and str(number) not in declared:
            yield Breach(f"port {text} is exposed; declared are {', '.join(sorted(declared))}")


def _privileged(image: Subject) -> Iterator[Breach]:
    for text, number in _ports(image):
        if number < 1024:
            yield Breach(f"port {text} is exposed")


def _shell(image: Subject) -> Iterator[Breach]:
    config = image.config.config
    for name, words in (("entry point", config.entrypoint), ("command", config.cmd)):
        program = _program(words)
        if _SHELLS.fullmatch(program):
            yield Breach(f"the {name} starts {program}")


def _program(words: Sequence[str]) -> str:
    """The first word that is no wrapper, and no option or variable of one."""
    wrapped = False
    for word in words:
        if _WRAPPERS.fullmatch(word):
            wrapped = True
        elif not wrapped or not re.match(r"-|\w+=", word):
            return word
    return ""


def _health_shell(image: Subject) -> Iterator[Breach]:
    kind, *words = _health_test(image) or [""]
    program = _program(words)
    if kind == "CMD-SHELL":
        yield Breach("the health check is a line for a shell (CMD-SHELL)")
    elif kind == "CMD" and _SHELLS.fullmatch(program):
        yield Breach(f"the health check starts {program}")


def _health_test(image: Subject) -> list[str]:
    test = image.config.config.healthcheck.get("Test")
    return [word for word in test if isinstance(word, str)] if isinstance(test, list) else []


def _health(image: Subject) -> Iterator[Breach]:
    test = image.config.config.healthcheck.get("Test")
    if not test or test == ["NONE"]:
        yield Breach("the configuration has no health check")


def _stop_signal(image: Subject) -> Iterator[Breach]:
    signal = image.config.config.stop_signal
    if signal and not _SIGNALS.fullmatch(signal.upper()):
        yield Breach(f"the stop signal is {signal!r}")


def _socket(image: Subject) -> Iterator[Breach]:
    config = image.config.config
    sources = {
        "a volume": config.volumes,
        "the environment": config.env,
        "the command": image.command,
        "a label": image.labels.values(),
        "the history": [step.created_by for step in image.config.history],
    }
    for name, texts in sources.items():
        if any(_SOCKET.search(text) for text in texts):
            yield Breach(f"{name} mentions the socket of a container engine")
    for entry in image.files:
        if _SOCKET.fullmatch(entry.path.rpartition("/")[2]):
            yield Breach.at(entry, "it has the name of a container engine's socket")


def _preload(image: Subject) -> Iterator[Breach]:
    for name in ("LD_PRELOAD", "LD_AUDIT"):
        if image.environment.get(name):
            yield Breach(f"{name} is {image.environment[name]!r}")


def _relative(image: Subject) -> Iterator[Breach]:
    for name in _SEARCH_PATHS:
        value = redact(image.environment.get(name, ""))  # whole: its parts are no secrets any more
        wrong = [part for part in value.split(":") if not part.startswith("/")] if value else []
        if wrong:
            words = ", ".join(repr(part) if part else "an empty entry" for part in wrong)
            yield Breach(f"{name} has {words}")


def _writable_path(image: Subject) -> Iterator[Breach]:
    for name in _SEARCH_PATHS:
        for part in redact(image.environment.get(name, "")).split(":"):
            writable = _nearest_writable(image, part) if part.startswith("/") else ""
            if writable:
                words = "is writable" if writable == part else f"can be made in {writable}"
                yield Breach(f"{part} of {name} {words} for the runtime user", part.strip("/"))


def _nearest_writable(image: Subject, path: str) -> str:
    """The folder, or else the nearest one above it that there is, when it can be written."""
    while path:
        folder = image.files.resolve(path)
        if folder is not None:
            return path if image.writable_by_user(folder) else ""
        path = path.rpartition("/")[0]
    return ""


def _driver_capabilities(image: Subject) -> Iterator[Breach]:
    if "all" in image.environment.get("NVIDIA_DRIVER_CAPABILITIES", "").lower().split(","):
        yield Breach("NVIDIA_DRIVER_CAPABILITIES is 'all'")


def _telemetry(image: Subject) -> Iterator[Breach]:
    table = load_telemetry()
    for entry in image.files:
        match = _DIST_INFO.fullmatch(entry.path)
        package = table.get(canonical_name(match[1])) if match else None
        if package is None:
            continue
        values = (image.environment.get(name, "").lower() for name in package.variables)
        if not any(value in package.values for value in values):
            wanted = f"{package.variables[0]}={min(package.values)}"
            yield Breach.at(entry, f"{package.name} connects to its makers; {wanted} is not set")


def _current_folder(image: Subject) -> Iterator[Breach]:
    words = image.command
    if not words or not _PYTHON.fullmatch(words[0]) or image.environment.get("PYTHONSAFEPATH"):
        return
    options = []
    for word in words[1:]:
        options.append(word)
        if not word.startswith("-") or word in ("-m", "-c"):
            break
    safe = any(re.fullmatch(r"-[A-Za-z]*[IP][A-Za-z]*", one) for one in options)
    if options and options[-1] in ("-m", "-c") and not safe:
        yield Breach(f"it starts as {words[0]} {options[-1]}, without -I or -P")


CHECKS: Mapping[str, Callable[[Subject], Iterator[Breach]]] = {
    "EC-IMG-040": _undeclared,
    "EC-IMG-041": _privileged,
    "EC-IMG-042": _shell,
    "EC-IMG-043": _health,
    "EC-IMG-045": _stop_signal,
    "EC-IMG-046": _socket,
    "EC-IMG-047": _preload,
    "EC-IMG-048": _relative,
    "EC-IMG-049": _writable_path,
    "EC-IMG-050": _driver_capabilities,
    "EC-IMG-051": _telemetry,
    "EC-IMG-055": _current_folder,
    "EC-IMG-059": _health_shell,
}
