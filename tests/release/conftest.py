from pathlib import Path

import pytest

from tiny_release import TinyRelease, make_release


@pytest.fixture(scope="session")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> TinyRelease:
    """A sound release, signed by one key. Not to be changed."""
    return make_release(tmp_path_factory.mktemp("pristine") / "layout")


@pytest.fixture
def release(pristine: TinyRelease, tmp_path: Path) -> TinyRelease:
    """A copy of it that a test may damage."""
    return pristine.copy(tmp_path / "layout")
