"""Questions to git about a project folder.

Neither the user's settings nor the load of the machine change an answer, and nothing that the
repository configures runs a program: it may come from anywhere. These are prevented:
hooks and file system monitors (`-c core.hooksPath`, `core.fsmonitor`), filters of files (all that
are configured are emptied), transports of a partial clone (`GIT_ALLOW_PROTOCOL`), commands in
submodules (they are asked on their own), signature checks, pagers and diff tools (no command that
uses them is called). A repository that belongs to another user is refused by git itself.

Source: git-config(1), gitattributes(5), git(1) "Environment Variables", the LFS pointer format.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from enginecrate.errors import OriginUnknown
from enginecrate.values import Digest

__all__ = ["GitRefused", "GitRepository"]

_GIT = "git"
_SECONDS = 120
_FIXED = (
    "--no-optional-locks",
    "-c", "core.fsmonitor=false",
    "-c", "core.hooksPath=/dev/null",
    "-c", "core.attributesFile=/dev/null",
    "-c", "core.excludesFile=/dev/null",
)  # fmt: skip
_LFS = re.compile(
    rb"version https://git-lfs\.github\.com/spec/v1\n(?:ext-.*\n)*oid sha256:([0-9a-f]{64})\n"
    rb"size (\d+)\n"
)
_LARGEST_POINTER = 1024
_LONGEST_REASON = 1000
_COMMITTED = re.compile(rb"^committer .* (-?\d+) [+-]\d{4}$", re.MULTILINE)
_SUBMODULE = b"160000 "


class GitRefused(Exception):
    """Git does not answer; the text is its own reason."""


class GitRepository:
    """The part of a repository that a folder is. Every method raises `GitRefused`, and
    `OriginUnknown` when git takes too long.
    """

    def __init__(self, folder: Path, home: Path, environment: Mapping[str, str]) -> None:
        """Prepare git's settings and options.

        Args:
            folder: in a working tree.
            home: an empty folder, for settings of our own in place of the user's.
            environment: of the process.
        """
        self._folder, self._home = folder, home
        self._options: tuple[str, ...] = ()
        self._environment = _own_settings(environment)
        trusted = "".join(f"directory = {_quoted(folder)}\n" for folder in self._trusted())
        (home / ".gitconfig").write_text(f"[safe]\n{trusted}", encoding="utf-8")
        self._environment = _without_settings(environment, home)
        self._options = tuple(self._without_filters())

    def commit(self) -> str:
        """The commit of HEAD."""
        return self._git("rev-parse", "--verify", "HEAD").decode().strip()

    def seconds(self, commit: str) -> int:
        """The time of a commit, in seconds since 1970."""
        match = _COMMITTED.search(self._git("cat-file", "commit", commit).partition(b"\n\n")[0])
        if match is None:
            raise GitRefused(f"the commit {commit} has no time")
        return int(match[1])

    def has(self, name: str) -> bool:
        """True if a file of the folder is in the repository."""
        return bool(self._git("ls-files", "-z", "--", name))

    def changes(self) -> Iterator[str]:
        """Files of the folder that differ from the commit, as named from the repository's top."""
        words = ("--porcelain", "-z", "--untracked-files=no", "--no-renames",
                 "--ignore-submodules=dirty", "--", ".")  # fmt: skip
        top = Path(os.fsdecode(self._git("rev-parse", "--show-toplevel").removesuffix(b"\n")))
        for line in _lines(self._git("status", *words)):
            path = os.fsdecode(line[3:])
            if not (line.startswith(b" M ") and self._is_stored_elsewhere(top, path)):
                yield path
        for line in _lines(self._git("ls-files", "--stage", "-z", "--", ".")):
            if line.startswith(_SUBMODULE):
                yield from self._changes_below(os.fsdecode(line.partition(b"\t")[2]))

    def untracked(self) -> Iterator[str]:
        """Files of the folder that are not committed, from there; a whole folder ends with `/`.

        Only the `.gitignore` files leave something out, since everybody has them.
        """
        words = ("--others", "--directory", "--no-empty-directory", "-z",
                 "--exclude-per-directory=.gitignore", "--", ".")  # fmt: skip
        yield from map(os.fsdecode, _lines(self._git("ls-files", *words)))

    def _changes_below(self, submodule: str) -> Iterator[str]:
        folder = self._folder / submodule
        if (folder / ".git").exists():
            below = GitRepository(folder, self._home, self._environment)
            for path in (*below.changes(), *below.untracked()):
                yield f"{submodule}/{path}"

    def _is_stored_elsewhere(self, top: Path, path: str) -> bool:
        """True if a file is the one that a pointer of git LFS stands for.

        Git itself would have to run the filter of LFS to know.
        """
        try:
            if int(self._git("cat-file", "-s", f":{path}")) > _LARGEST_POINTER:
                return False
            pointer = _LFS.fullmatch(self._git("cat-file", "blob", f":{path}"))
            if pointer is None or (top / path).stat().st_size != int(pointer[2]):
                return False
            return Digest.of_file(top / path).hex == pointer[1].decode()
        except OSError:
            return False

    def _trusted(self) -> Iterator[str]:
        """Repositories of others that the user, or the machine, has allowed to use."""
        words = ("config", "--null", "--show-scope", "--type=path", "--get-all", "safe.directory")
        pairs = iter(self._run(words, folder=Path("/")).stdout.split(b"\0")[:-1])
        for scope, value in zip(pairs, pairs, strict=False):
            if scope in (b"system", b"global", b"command"):  # as git itself trusts them
                yield os.fsdecode(value)

    def _without_filters(self) -> Iterator[str]:
        """Options that empty every filter that is configured."""
        words = ("config", "--null", "--name-only", "--get-regexp", r"^filter\.")
        done = self._run(words)
        if done.returncode not in (0, 1):
            raise GitRefused(_reason(done))
        names = {os.fsdecode(one).rpartition(".")[0] for one in _lines(done.stdout)}
        for name in sorted(names):
            if "=" in name:
                raise GitRefused(f"git cannot be told to leave {name!r} alone")
            for key, value in (("clean", ""), ("process", ""), ("required", "false")):
                yield from ("-c", f"{name}.{key}={value}")

    def _git(self, *words: str) -> bytes:
        done = self._run(words)
        if done.returncode:
            raise GitRefused(_reason(done))
        return done.stdout

    def _run(
        self, words: Sequence[str], folder: Path | None = None
    ) -> subprocess.CompletedProcess[bytes]:
        try:
            return subprocess.run(  # noqa: S603 -- a list of arguments, no shell
                [_GIT, *_FIXED, *self._options, "-C", str(folder or self._folder), *words],
                env=self._environment, stdin=subprocess.DEVNULL, capture_output=True,
                timeout=_SECONDS, check=False,
            )  # fmt: skip
        except FileNotFoundError as exc:
            raise GitRefused("git is not installed here") from exc
        except OSError as exc:
            raise GitRefused(f"git cannot be started: {exc.strerror}") from exc
        except subprocess.TimeoutExpired as exc:
            raise OriginUnknown(
                f"git did not say within {_SECONDS} s which commit {self._folder} is from, and an "
                "image must not depend on how busy a machine is; run the command again, or give "
                "both: the option --revision, and the time of the commit in SOURCE_DATE_EPOCH"
            ) from exc


def _own_settings(environment: Mapping[str, str]) -> dict[str, str]:
    """An environment with the user's settings, but for no certain repository."""
    return {
        name: value
        for name, value in environment.items()
        if not name.startswith("GIT_") or name.startswith("GIT_CONFIG")
    }


def _without_settings(environment: Mapping[str, str], home: Path) -> dict[str, str]:
    """Variables of git would name another repository, other settings, or programs to run."""
    kept = {
        name: value
        for name, value in environment.items()
        if not name.startswith("GIT_") and name != "XDG_CONFIG_HOME"
    }
    return {
        **kept,
        "HOME": str(home),
        "GIT_CONFIG_GLOBAL": str(home / ".gitconfig"),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_ALLOW_PROTOCOL": "none",
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_NO_LAZY_FETCH": "1",
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "LC_ALL": "C",
    }


def _quoted(text: str) -> str:
    """A value in a file of git's settings."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def _lines(output: bytes) -> list[bytes]:
    return [one for one in output.split(b"\0") if one]


def _reason(done: subprocess.CompletedProcess[bytes]) -> str:
    """The words of git, with its advice, on one line."""
    text = " ".join(done.stderr.decode(errors="replace").removeprefix("fatal: ").split())
    return text[:_LONGEST_REASON] or f"it ended with code {done.returncode}"
