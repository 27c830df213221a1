"""Shells among programs, known by texts that their code holds: a copy has another name."""

from __future__ import annotations

__all__ = ["ELF", "shell_in"]

ELF = b"\x7fELF"
_MARKS = (
    (b"BusyBox is copyrighted by many authors", "busybox"),
    (b"@(#)Bash version", "bash"),
    (b"ZSH_PATCHLEVEL", "zsh"),
    (b"KSH_VERSION", "ksh"),
    (b"YASH_VERSION", "yash"),
    (b"Bad for loop variable", "dash"),
    (b"OPTIND", "a shell of POSIX"),
    ("histchars".encode("utf-32-le"), "tcsh"),
    ("histchars".encode("utf-16-le"), "csh"),
    ("fish_prompt".encode("utf-32-le"), "fish"),
    (b"Toybox %s multicall binary", "toybox"),
)
"""`OPTIND` is the variable of the built-in `getopts`, which every shell of POSIX has. Some shells
keep their words as wide characters."""


def shell_in(program: bytes) -> str:
    """The shell that an executable is; empty when it is none."""
    return next((name for mark, name in _MARKS if mark in program), "")
