"""One table of settings.

Each has one name in three forms: `http_port` in the settings file, `ENGINECRATE_HTTP_PORT` in
the environment, `--http-port` on the command line. The later of
default < file < environment < flag wins. The file is the one of `--settings FILE`, else the one
that ENGINECRATE_SETTINGS names. An image has defaults of its own, in the file that
ENGINECRATE_DEFAULTS names: whatever the user says wins over them.
"""

from __future__ import annotations

import os
import re
import stat
import tempfile
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from enginecrate.errors import InputUnreadable, SettingInvalid, nearest
from enginecrate.files.encoding import utf8

__all__ = [
    "DEFAULTS_VARIABLE",
    "IMAGE_DEFAULTS_FILE",
    "OTHER_VARIABLES",
    "SETTINGS",
    "SETTINGS_VARIABLE",
    "Setting",
    "Settings",
    "home_folder",
    "load_settings",
    "unknown_variables",
]

SETTINGS_VARIABLE = "ENGINECRATE_SETTINGS"
"""Names the settings file, as `--settings` does."""

DEFAULTS_VARIABLE = "ENGINECRATE_DEFAULTS"
"""Names a settings file that is read before the user's."""

IMAGE_DEFAULTS_FILE = "/opt/enginecrate/defaults.toml"
"""In every image."""

OTHER_VARIABLES = frozenset(
    {
        DEFAULTS_VARIABLE,
        SETTINGS_VARIABLE,
        "ENGINECRATE_DEBUG",
        "ENGINECRATE_IMAGE",
        "ENGINECRATE_KEY_PASSPHRASE",
    }
)
"""Variables with our prefix that are no settings. ENGINECRATE_IMAGE: the image's own name, for the
commands that messages show."""

_KUBERNETES_ADDRESS = re.compile(r"(?:tcp|udp|sctp)://", re.IGNORECASE)
"""The beginning of what Kubernetes puts into `NAME_PORT` and the like, for each Service."""

_KUBERNETES_NAME = re.compile(
    r"_SERVICE_HOST$|_SERVICE_PORT(_[A-Z0-9_]+)?$"
    r"|_PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?$"
)

MIB = 1024 * 1024
GIB = 1024 * MIB


@dataclass(frozen=True, slots=True)
class Setting:
    """One row of the table: the type is the default's type; `choices` or `minimum` bound it.

    A text with choices and a minimum may also be a whole number.

    live: SIGHUP changes it in a running server.
    """

    name: str
    default: str | int | float
    help: str
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()
    live: bool = False

    @property
    def environment(self) -> str:
        return f"ENGINECRATE_{self.name.upper()}"

    @property
    def flag(self) -> str:
        return f"--{self.name.replace('_', '-')}"

    @property
    def may_be_number(self) -> bool:
        """True for a text that may also be a whole number."""
        return bool(self.choices) and self.minimum is not None


def home_folder() -> Path | None:
    """The user's home; `None` for a user id without a name when `HOME` is not set, as in CI."""
    try:
        return Path.home()
    except RuntimeError:
        return None


def _default_cache() -> Path:
    """Below the user's home, or in the temporary folder for a user who has none of his own."""
    if base := os.environ.get("XDG_CACHE_HOME"):
        return _expanded(base, "XDG_CACHE_HOME") / "enginecrate"
    home = home_folder()
    if home is not None and _may_write(home, folder := home / ".cache" / "enginecrate"):
        return folder
    return _temporary_cache()


def _may_write(home: Path, folder: Path) -> bool:
    """True for the user's own home: what is wrong in there is to be told, not to be avoided."""
    if not home.is_absolute():
        return False
    try:
        if home.stat().st_uid == os.geteuid():
            return True
        there = next(one for one in (folder, *folder.parents) if one.exists())
    except OSError:
        return False
    return os.access(there, os.W_OK | os.X_OK)


def _temporary_cache() -> Path:
    folder = Path(tempfile.gettempdir(), f"enginecrate-{os.geteuid()}")
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
    except OSError:  # whoever wants to write there says why it cannot be done
        return folder
    if found.st_uid != os.geteuid() or not stat.S_ISDIR(found.st_mode) or found.st_mode & 0o022:
        raise SettingInvalid(
            f"this user has no home, and others may write to {folder}, so that its content cannot "
            "be trusted; name another folder with the setting cache_dir"
        )
    return folder


def _expanded(path: str, source: str) -> Path:
    try:
        return Path(path).expanduser()
    except RuntimeError as exc:
        raise SettingInvalid(
            f"{source}: {path!r} begins with a home folder, and there is none; write the whole path"
        ) from exc


SETTINGS: tuple[Setting, ...] = (
    Setting("host", "127.0.0.1", "Address or name to listen on; 0.0.0.0 is every interface by "
            "IPv4, :: by IPv6 and IPv4"),
    Setting("http_port", 8000, "Port for HTTP; 0 takes any free one", minimum=0, maximum=65535),
    Setting("cache_dir", "", "Folder for built plans (default: the user's cache "
            "folder; for a user without a home one in the temporary folder)"),
    Setting("plans_dir", "", "Folder of plans that came with the app, as in an image; empty: none"),
    Setting("log_format", "auto", "Log format; auto: text on a terminal, JSON elsewhere",
            choices=("auto", "json", "text")),
    Setting("log_level", "info", "Least severe level that is logged",
            choices=("debug", "info", "warning", "error"), live=True),
    Setting("log_stream", "stderr", "Where the log goes", choices=("stderr", "stdout")),
    Setting("log_dir", "", "Folder for log files, too (default: /var/log/enginecrate where that is "
            "a mount of its own, else none)"),
    Setting("log_file_bytes", 16 * MIB, "Largest size of one log file", minimum=4096),
    Setting("log_files", 5, "Most log files that are kept, with the one being written", minimum=2),
    Setting("max_body_bytes", 64 * MIB, "Largest request body, before and after decompression",
            minimum=1024, live=True),
    Setting("max_image_pixels", 64_000_000, "Largest image, width x height, that is decoded",
            minimum=1),
    Setting("max_images", 64, "Most images in one request", minimum=1, live=True),
    Setting("queue_seconds", 2.0, "Longest time that requests may have to wait for an engine, as "
            "estimated; more are refused with 429", minimum=0.01),
    Setting("max_pending", 2048, "Most requests that wait, however soon they are answered; more "
            "are refused with 429", minimum=1),
    Setting("request_timeout_seconds", 30.0, "Longest time for a request, from its first byte",
            minimum=0.1, live=True),
    Setting("keep_alive_seconds", 75, "Longest pause between two requests on one connection; "
            "after it the server closes it", minimum=1, live=True),
    Setting("drain_seconds", 0.0, "Time between the signal to stop and the end of new connections: "
            "`ready` is 503 already, and all else goes on", minimum=0.0, live=True),
    Setting("shutdown_seconds", 4.0, "Longest wait for running requests at shutdown", minimum=0.0,
            live=True),
    Setting("frontends", "auto", "Processes that speak HTTP, beside the one with the engine; 0: "
            "one process for all; auto: 0 without a GPU or with fewer than 4 cores, else half of "
            "the cores, at most 8", minimum=0, maximum=64, choices=("auto",)),
    Setting("instances", 0, "Engines that run at once; 0: as the manifest says", minimum=0),
    Setting("engine_threads", 0, "Threads for one engine; 0: cores / instances", minimum=0),
    Setting("decode_threads", 0, "Threads that decode images; 0: one for each core", minimum=0),
    Setting("decode_memory_bytes", 0, "Memory for decoding images; 0: what the container "
            "or the machine has left", minimum=0),
    Setting("stack", "", "Stack to serve with (default: the manifest's first that runs here)"),
    Setting("ladder", "on", "on: start with an engine that is there and build the best one in the "
            "background; off: start with the best one only", choices=("on", "off")),
    Setting("minimum_engine", "auto", "Least engine that counts as ready; auto: a GPU engine when "
            "the stack is for GPUs", choices=("auto", "gpu", "cpu")),
    Setting("cache_max_bytes", 20 * GIB, "Largest size of the cache of plans; 0: no limit",
            minimum=0),
    Setting("build_jobs", 0, "Plans that are built at once; 0: as cores and memory allow",
            minimum=0),
    Setting("build_memory_bytes", 0, "Memory for one plan that is built while serving; 0: half of "
            "what is free", minimum=0),
    Setting("registry_min_rate", 1024, "Registries: least bytes a second while an answer arrives, "
            "over half a minute; 0: no limit", minimum=0),
    Setting("apt_sources", "", "Images: apt sources file in place of this machine's own sources"),
    Setting("extra_index_url", "", "Images: Python package indexes beside pip's own, separated by "
            "spaces"),
    Setting("find_links", "", "Images: folders or pages with wheels, separated by spaces"),
)  # fmt: skip

_BY_NAME = {setting.name: setting for setting in SETTINGS}


@dataclass(frozen=True, slots=True)
class Settings:
    """Resolved settings. `origin[name]` is `default`, a file's path, `environment` or `flag`."""

    host: str
    http_port: int
    cache_dir: str
    plans_dir: str
    log_format: Literal["auto", "json", "text"]
    log_level: Literal["debug", "info", "warning", "error"]
    log_stream: Literal["stderr", "stdout"]
    log_dir: str
    log_file_bytes: int
    log_files: int
    max_body_bytes: int
    max_image_pixels: int
    max_images: int
    queue_seconds: float
    max_pending: int
    request_timeout_seconds: float
    keep_alive_seconds: int
    drain_seconds: float
    shutdown_seconds: float
    frontends: Literal["auto"] | int
    instances: int
    engine_threads: int
    decode_threads: int
    decode_memory_bytes: int
    stack: str
    ladder: Literal["on", "off"]
    minimum_engine: Literal["auto", "gpu", "cpu"]
    cache_max_bytes: int
    build_jobs: int
    build_memory_bytes: int
    registry_min_rate: int
    apt_sources: str
    extra_index_url: str
    find_links: str
    origin: Mapping[str, str]

    @property
    def local_hosts(self) -> tuple[str, ...]:
        """Where this machine reaches a server that listens on `host`: hosts to try in turn."""
        every = {"0.0.0.0": ("127.0.0.1",), "::": ("::1", "127.0.0.1")}  # noqa: S104 - compared
        return every.get(self.host, (self.host,))

    @property
    def cache_path(self) -> Path:
        return Path(self.cache_dir)


def load_settings(
    *,
    file: Path | None = None,
    environment: Mapping[str, str] | None = None,
    flags: Mapping[str, Any] | None = None,
) -> Settings:
    """Resolve every setting.

    Args:
        file: a TOML file; `None`: the one that the environment names, if it names one.
        environment: default: the process's own.
        flags: values from the command line; a `None` value counts as not given.

    Raises:
        SettingInvalid: an unknown name, or a value that is of the wrong type or out of range.
        InputUnreadable: the file cannot be read.
    """
    environment = os.environ if environment is None else environment
    values: dict[str, Any] = {setting.name: setting.default for setting in SETTINGS}
    origin = dict.fromkeys(values, "default")
    files = [environment.get(DEFAULTS_VARIABLE), file or environment.get(SETTINGS_VARIABLE)]
    layers: list[tuple[str, Mapping[str, Any]]] = [
        (str(one), _read_file(Path(one))) for one in files if one
    ]
    layers.append(("environment", {
        name: environment[setting.environment] for name, setting in _BY_NAME.items()
        if setting.environment in environment and not _is_of_kubernetes(setting, environment)
    }))  # fmt: skip
    layers.append(("flag", {k: v for k, v in (flags or {}).items() if v is not None}))
    for source, layer in layers:
        for name, raw in layer.items():
            if name not in _BY_NAME:
                raise SettingInvalid(
                    f"{source}: unknown setting {name!r}{nearest(name, _BY_NAME)}; "
                    "all settings are listed in docs/settings.md"
                )
            values[name] = _parse(_BY_NAME[name], raw, source)
            origin[name] = source
    cache = values["cache_dir"]
    folder = _expanded(cache, origin["cache_dir"]) if cache else _default_cache()
    values["cache_dir"] = str(folder.absolute())
    return Settings(**values, origin=origin)


def unknown_variables(environment: Mapping[str, str] | None = None) -> list[str]:
    """A warning for each variable that does nothing: no setting, or Kubernetes' own value.

    Kubernetes describes each Service of the namespace in variables of every container. Those of
    a Service that is called `enginecrate`, or begins so, look like ours.

    Args:
        environment: default: the process's own.
    """
    environment = os.environ if environment is None else environment
    known = {setting.environment for setting in SETTINGS} | OTHER_VARIABLES
    warnings = [
        f"the environment variable {name} is no setting, and does nothing{nearest(name, known)}"
        for name in sorted(environment)
        if name.startswith("ENGINECRATE_")
        and name not in known
        and not _is_service_variable(name, environment[name])
    ]
    for setting in SETTINGS:
        if _is_of_kubernetes(setting, environment):
            name = setting.environment
            warnings.append(
                f"the environment variable {name} is ignored: {environment[name]!r} comes from "
                f"Kubernetes, for a Service called {_service(name)}; rename the Service, or set "
                "enableServiceLinks: false in the pod's spec"
            )
    return warnings


def _is_of_kubernetes(setting: Setting, environment: Mapping[str, str]) -> bool:
    """True when a variable with a setting's name has what Kubernetes says of a Service's port."""
    return setting.name.endswith("_port") and _is_address(environment.get(setting.environment, ""))


def _is_service_variable(name: str, value: str) -> bool:
    return bool(_KUBERNETES_NAME.search(name)) or (name.endswith("_PORT") and _is_address(value))


def _is_address(value: str) -> bool:
    return bool(_KUBERNETES_ADDRESS.match(value))


def _service(variable: str) -> str:
    return variable.removesuffix("_PORT").lower().replace("_", "-")


def _read_file(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(utf8(file.read_bytes()).decode())
    except OSError as exc:
        raise InputUnreadable(
            f"cannot read the settings file {file}: {exc.strerror}; check the path"
        ) from exc
    except (tomllib.TOMLDecodeError, UnicodeError) as exc:
        raise SettingInvalid(f"{file}: not valid TOML: {exc}") from exc


def _parse(setting: Setting, raw: Any, source: str) -> str | int | float:
    names = {"flag": setting.flag, "environment": setting.environment}
    where = names.get(source, f"{source}: {setting.name}")
    kind: type[str] | type[int] | type[float] = type(setting.default)
    words = {int: "a whole number", float: "a number", str: "text"}[kind]
    if setting.may_be_number and raw not in setting.choices:
        kind, words = int, f"{', '.join(setting.choices)} or a whole number"
    acceptable = isinstance(raw, (str, kind)) or (kind is float and isinstance(raw, int))
    try:
        if isinstance(raw, bool) or not acceptable:
            raise ValueError
        value = kind(raw)
    except ValueError:
        raise SettingInvalid(f"{where} must be {words}, found {raw!r}") from None
    if isinstance(value, str):
        if setting.choices and value not in setting.choices:
            raise SettingInvalid(
                f"{where} must be one of {', '.join(setting.choices)}, found {raw!r}"
                f"{nearest(value, setting.choices)}"
            )
        return value
    low, high = setting.minimum, setting.maximum
    if low is not None and not float(value) >= low:
        raise SettingInvalid(f"{where} must be at least {low:g}, found {raw!r}")
    if high is not None and not float(value) <= high:
        raise SettingInvalid(f"{where} must be at most {high:g}, found {raw!r}")
    return value
