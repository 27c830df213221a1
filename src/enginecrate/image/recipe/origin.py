"""The origin of a project: the commit of its repository, and the time that images carry.

The same commit, or the same variable, gives the same answer on every machine and at any time. Where
a commit cannot be named although there is a repository, a note gives the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from enginecrate.errors import OriginUnknown, SettingInvalid
from enginecrate.image.recipe.git import GitRefused, GitRepository

__all__ = ["Origin", "find_origin"]

_EPOCH = "SOURCE_DATE_EPOCH"
_CURE = f"name it with --revision, and its time with {_EPOCH}"


@dataclass(frozen=True, slots=True)
class Origin:
    """revision: a git commit, or empty. created: RFC 3339, UTC.

    note: why no commit is named although the project is in a repository; a sentence for people.
    """

    revision: str
    created: str
    note: str = ""


def find_origin(
    root: Path,
    environment: Mapping[str, str],
    revision: str = "",
    packed: Callable[[], Iterable[str]] = tuple,
) -> Origin:
    """The origin of the project in `root`.

    created: the variable SOURCE_DATE_EPOCH; without it the time of the commit; without that the
    beginning of 1970, which stands for an unknown time.

    Args:
        root: the project folder.
        environment: of the process.
        revision: given by the user; else the commit of the repository, if everything in the
            project folder is committed.
        packed: gives the files that go into the image. Of the hidden ones that are not committed
            (`.DS_Store`, `.venv`), only these count.

    Raises:
        SettingInvalid: SOURCE_DATE_EPOCH is not a number of seconds.
        OriginUnknown: git takes too long to answer, or there is no room for its settings.
    """
    seconds = _seconds(environment[_EPOCH]) if environment.get(_EPOCH) else None
    commit, committed, note = ("", 0, "") if revision else _clean_commit(root, environment, packed)
    created = datetime.fromtimestamp(committed if seconds is None else seconds, UTC)
    return Origin(revision or commit, created.strftime("%Y-%m-%dT%H:%M:%SZ"), note)


def _seconds(text: str) -> int:
    try:
        seconds = int(text)
        datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        raise SettingInvalid(
            f"{_EPOCH} must be a number of seconds since 1970, found {text!r}"
        ) from None
    return seconds


def _clean_commit(
    root: Path, environment: Mapping[str, str], packed: Callable[[], Iterable[str]]
) -> tuple[str, int, str]:
    """The commit that the folder's files are from and its time, or a note why there is none."""
    folder = root.resolve()
    if not any((one / ".git").exists() for one in (folder, *folder.parents)):
        return "", 0, ""
    try:
        with TemporaryDirectory(prefix="enginecrate-") as home:
            repository = GitRepository(folder, Path(home), environment)
            new = _that_count(repository.untracked(), packed)
            if changed := sorted((*repository.changes(), *new)):
                return "", 0, _changed(changed)
            # A folder that the repository ignores is clean, too, and is from no commit.
            if not repository.has("enginecrate.toml"):
                return "", 0, ""
            commit = repository.commit()
            return commit, repository.seconds(commit), ""
    except GitRefused as exc:
        return "", 0, f"the image names no commit, since git refuses {folder}: {exc}; {_CURE}"
    except OSError as exc:
        raise OriginUnknown(
            f"cannot ask git for the commit of {folder}: {exc.strerror} ({exc.filename}); make "
            f"room in the folder for temporary files, or {_CURE}"
        ) from exc


def _that_count(paths: Iterable[str], packed: Callable[[], Iterable[str]]) -> Iterator[str]:
    """The uncommitted files that count: all but hidden ones that are not packed."""
    taken: set[str] | None = None
    for path in paths:
        if any(part.startswith(".") for part in path.split("/")):
            taken = set(packed()) if taken is None else taken
            if not any(one == path or one.startswith(path.rstrip("/") + "/") for one in taken):
                continue
        yield path


def _changed(paths: list[str]) -> str:
    more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
    return (
        f"the image names no commit, since files of the project are not committed, or differ from "
        f"the commit in a byte or a mode: {paths[0]!r}{more}. Your own settings of git "
        f"(core.excludesFile, core.autocrlf, core.fileMode) do not count: commit the files, name "
        f"them in .gitignore, or {_CURE}"
    )
