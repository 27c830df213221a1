"""The lock `enginecrate.lock`: every version that a project's stacks resolve to.

`schema` has its entries, `file` reads and checks it, `text` writes it as TOML. Everything that
resolves, builds or describes images uses it.
"""

from enginecrate.stacks.lock.file import LOCK_NAME, asked_digest, check_lock, load_lock, make_lock
from enginecrate.stacks.lock.schema import (
    Lock,
    LockedDeb,
    LockedImage,
    LockedWheel,
    check_fields,
)
from enginecrate.stacks.lock.text import render_lock

__all__ = [
    "LOCK_NAME",
    "Lock",
    "LockedDeb",
    "LockedImage",
    "LockedWheel",
    "asked_digest",
    "check_fields",
    "check_lock",
    "load_lock",
    "make_lock",
    "render_lock",
]
