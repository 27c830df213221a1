"""Rules about modes, owners and kinds of files."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping

from enginecrate.image.audit.rules.redaction import redact
from enginecrate.image.audit.rules.secret_scanner import load_scanner
from enginecrate.image.audit.rules.subject import Breach, Subject
from enginecrate.image.reading.filesystem import Entry

__all__ = ["CHECKS"]

_CODE = re.compile(r"(?i).*\.(?:py|pyc|pyd|so(?:\.[0-9.]+)?|js|mjs|jar|class|rb|pl|sh|wasm|node)")
_SCRATCH = re.compile(r"(?:tmp|var/tmp|var/cache|var/log|run|var/run|dev|proc|sys)(?:/.*)?")
"""Folders in which apps are expected to write, on volumes or on tmpfs."""
_VIRTUAL = re.compile(r"(?:dev|proc|run|sys|var/run|var/lock)(?:/.*)?")
"""Folders that the runtime or the running system fills."""
_LARGE = 1 << 20
_REPOSITORY = re.compile(
    r"((?:.*/)?[^/]*\.git(?=/(?:HEAD|config|index|packed-refs|(?:objects|refs|logs)/.+)$)"
    r"|(?:.*/)?\.hg(?=/(?:hgrc|dirstate|requires|store/.+)$)"
    r"|(?:.*/)?\.svn(?=/(?:wc\.db|entries|pristine/.+)$)"
    r"|(?:.*/)?\.bzr(?=/(?:branch|repository|checkout)/.+$))/.+"
)
"""Folders of Git (also bare ones), Mercurial, Subversion and Bazaar, known by what is in them."""
_CAPABILITY = "security.capability"
_CAPABILITIES = (
    "chown", "dac_override", "dac_read_search", "fowner", "fsetid", "kill", "setgid", "setuid",
    "setpcap", "linux_immutable", "net_bind_service", "net_broadcast", "net_admin", "net_raw",
    "ipc_lock", "ipc_owner", "sys_module", "sys_rawio", "sys_chroot", "sys_ptrace", "sys_pacct",
    "sys_admin", "sys_boot", "sys_nice", "sys_resource", "sys_time", "sys_tty_config", "mknod",
    "lease", "audit_write", "audit_control", "setfcap", "mac_override", "mac_admin", "syslog",
    "wake_alarm", "block_suspend", "audit_read", "perfmon", "bpf", "checkpoint_restore",
)  # fmt: skip
"""By their numbers; capabilities(7)."""


def _setuid(image: Subject) -> Iterator[Breach]:
    for entry in image.files:
        if entry.kind == "file" and entry.mode & 0o6000:
            which = " and ".join(
                name for bit, name in ((0o4000, "setuid"), (0o2000, "setgid")) if entry.mode & bit
            )
            yield Breach.at(entry, f"{which}, mode {entry.mode:04o}, owner {entry.uid}:{entry.gid}")


def _capabilities(image: Subject) -> Iterator[Breach]:
    for entry in image.files:
        for name, value in entry.xattrs.items():
            granted = _granted(value) if name.lower() == _CAPABILITY else ""
            if granted:
                yield Breach.at(entry, f"it has file capabilities{granted}")


def _granted(value: bytes) -> str:
    """Words for the capabilities of an attribute; empty when a known version of it gives none.

    Source: Linux, include/uapi/linux/capability.h, `vfs_cap_data` of the versions 1, 2 and 3.
    """
    magic = int.from_bytes(value[:4], "little")
    words = {1: 1, 2: 2, 3: 2}.get(magic >> 24, 0)
    if not words or len(value) < 4 + 8 * words:
        return " of an unknown form"
    numbers = [int.from_bytes(value[at : at + 4], "little") for at in range(4, 4 + 8 * words, 4)]
    both = [low | high for low, high in zip(numbers[::2], numbers[1::2], strict=True)]
    bits = sum(part << 32 * index for index, part in enumerate(both))
    names = [f"cap_{name}" for bit, name in enumerate(_CAPABILITIES) if bits >> bit & 1]
    if bits and not names:
        return " that have no name yet"
    return f": {', '.join(names)}" if bits else ""


def _world_writable(image: Subject) -> Iterator[Breach]:
    for entry in image.files:
        if entry.kind == "folder":
            if entry.mode & 0o1002 == 0o002:
                yield Breach.at(entry, f"a folder of mode {entry.mode:04o} without the sticky bit")
        elif entry.kind in ("file", "pipe") and entry.mode & 0o002:
            yield Breach.at(entry, f"a {entry.kind} of mode {entry.mode:04o}")


def _own_code(image: Subject) -> Iterator[Breach]:
    counts = Counter(top for _, top in _writable_code(image))
    for top in sorted(counts):
        entry = image.files.get(top)
        if entry is not None:
            files = f"{counts[top]} files" if counts[top] > 1 else "a file"
            yield Breach.at(
                entry, f"{files} of code that the runtime user ({image.uid}) may replace"
            )


def _writable_code(image: Subject) -> Iterator[tuple[Entry, str]]:
    """Files of code, with the highest folder through which they can be replaced."""
    for entry in image.files:
        if entry.kind != "file" or not (entry.mode & 0o111 or _CODE.fullmatch(entry.path)):
            continue
        top = _highest_writable(image, entry)
        if top:
            yield entry, top


def _highest_writable(image: Subject, entry: Entry) -> str:
    """The path of the topmost writable path on the way to a file; empty when there is none."""
    top = entry.path if image.writable_by_user(entry) and not entry.mode & 0o002 else ""
    folder = entry.path.rpartition("/")[0]
    while folder:
        parent = image.files.get(folder)
        if parent is None or not image.writable_by_user(parent) or parent.mode & 0o1002:
            break
        top, folder = folder, folder.rpartition("/")[0]
    return top


def _own_folders(image: Subject) -> Iterator[Breach]:
    volumes = [volume.strip("/") for volume in image.config.config.volumes]
    code = {top for _, top in _writable_code(image)}
    reported: set[str] = set()
    for entry in image.files:
        if entry.kind != "folder" or not image.owned_by_user(entry):
            continue
        parents = set(_parents(entry.path))
        if _SCRATCH.fullmatch(entry.path) or parents & {*volumes, *code, *reported}:
            continue
        reported.add(entry.path)
        yield Breach.at(entry, f"the folder belongs to the runtime user ({image.uid})")


def _parents(path: str) -> Iterator[str]:
    """The path and the folders above it."""
    while path:
        yield path
        path = path.rpartition("/")[0]


def _repositories(image: Subject) -> Iterator[Breach]:
    reported: set[str] = set()
    for entry in (*image.files, *(hidden.entry for hidden in image.files.hidden)):
        match = _REPOSITORY.fullmatch(entry.path) if entry.kind != "device" else None
        if match and match[1] not in reported:
            reported.add(match[1])
            yield Breach("it has the history of the source", match[1], entry.layer)


def _devices(image: Subject) -> Iterator[Breach]:
    for entry in image.files:
        if entry.kind == "device" and not (entry.path.rpartition("/")[2].startswith(".wh.")):
            yield Breach.at(entry, "a device file")


def _escaping(image: Subject) -> Iterator[Breach]:
    for entry in image.files:
        if entry.kind == "symlink" and _escapes(entry) and not _holds_secret(entry):
            yield Breach.at(entry, f"points to {entry.target!r}, above the root")


def _holds_secret(entry: Entry) -> bool:
    """True if the target is a secret, of which another rule tells."""
    return bool(load_scanner().search_text(entry.target))


def _escapes(entry: Entry) -> bool:
    depth = 0 if entry.target.startswith("/") else entry.path.count("/")
    for part in entry.target.split("/"):
        if part not in ("", "."):
            depth += -1 if part == ".." else 1
        if depth < 0:
            return True
    return False


def _dangling(image: Subject) -> Iterator[Breach]:
    for entry in image.files:
        if entry.kind != "symlink" or _escapes(entry):
            continue
        target = _plain_target(entry)
        gone = not _VIRTUAL.fullmatch(target) and image.files.resolve(entry.path) is None
        if gone and not _holds_secret(entry):
            yield Breach.at(entry, f"points to {entry.target!r}, which is not there")


def _plain_target(entry: Entry) -> str:
    """The target of a link, from the root; links on the way are not followed."""
    start = "" if entry.target.startswith("/") else entry.path.rpartition("/")[0]
    parts: list[str] = []
    for part in f"{start}/{entry.target}".split("/"):
        if part == "..":
            parts = parts[:-1]
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts)


def _preload(image: Subject) -> Iterator[Breach]:
    lines = image.texts.get("etc/ld.so.preload", "").splitlines()
    named = [line for line in lines if line.strip() and not line.startswith("#")]
    if named:
        yield Breach(f"it names {redact(', '.join(named))[:200]}", "etc/ld.so.preload")


def _waste(image: Subject) -> Iterator[Breach]:
    for hidden in image.files.hidden:
        entry = hidden.entry
        if entry.size >= _LARGE and not image.files.is_visible(entry):
            size = f"{entry.size / _LARGE:.1f} MiB"
            yield Breach.at(entry, f"{size}, which layer {hidden.by + 1} removes or replaces")


CHECKS: Mapping[str, Callable[[Subject], Iterator[Breach]]] = {
    "EC-IMG-010": _setuid,
    "EC-IMG-011": _capabilities,
    "EC-IMG-012": _world_writable,
    "EC-IMG-013": _own_code,
    "EC-IMG-014": _own_folders,
    "EC-IMG-015": _devices,
    "EC-IMG-016": _escaping,
    "EC-IMG-017": _dangling,
    "EC-IMG-018": _preload,
    "EC-IMG-058": _repositories,
    "EC-IMG-074": _waste,
}
