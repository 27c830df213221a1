import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))  # for tiny_models

from enginecrate.builder.golden.samples import record_golden
from enginecrate.builder.ladder.predictor import open_predictor
from enginecrate.settings import Settings
from tiny_project import make_project, settings, write_photos


@pytest.fixture(scope="session")
def shared_cache(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Settings with one plan cache for all tests that do not look into it."""
    return settings(tmp_path_factory.mktemp("cache"))


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """An unproven project."""
    return make_project(tmp_path / "colors")


@pytest.fixture
def proven(project: Path, tmp_path: Path, shared_cache: Settings) -> Path:
    """A project with three golden samples."""
    predictor = open_predictor(project, shared_cache)
    record_golden(predictor.predict, project / "golden", write_photos(tmp_path / "photos"))
    predictor.close()
    return project
