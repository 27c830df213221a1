"""What `init` writes builds and proves itself at once."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from enginecrate.builder.golden.samples import check_golden, load_golden
from enginecrate.builder.ladder.predictor import Predictor, open_predictor
from enginecrate.builder.run import run_build
from enginecrate.builder.scaffold.scaffold import create_from_sample
from enginecrate.settings import Settings, load_settings

SAMPLES = Path(__file__).parents[2] / "samples"


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    cache = tmp_path_factory.mktemp("cache")
    return load_settings(environment={"ENGINECRATE_CACHE_DIR": str(cache)})


@pytest.fixture(scope="module", params=["detection", "classification"])
def sample(request: pytest.FixtureRequest, settings: Settings) -> Iterator[tuple[Path, Predictor]]:
    folder = SAMPLES / request.param
    with closing(open_predictor(folder, settings)) as predictor:
        yield folder, predictor


def test_a_sample_gives_its_recorded_answers(sample: tuple[Path, Predictor]):
    folder, predictor = sample
    report = check_golden(predictor.predict, load_golden(folder / "golden"))
    assert report.passed, report
    assert len(report.outcomes) == 3


def test_the_photo_to_try(sample: tuple[Path, Predictor]):
    folder, predictor = sample
    (photo,) = (folder / "photos").iterdir()
    result = predictor.predict(photo.read_bytes())
    if photo.name == "china.jpg":
        assert result.detections == []
    else:
        assert result.classes[0].label == "daisy"


def test_the_template_builds_and_keeps_the_contract(tmp_path: Path, settings: Settings):
    made = create_from_sample(tmp_path / "mine", "mine", "custom")
    report = run_build(made.root, settings)
    assert report.verdict == "proven"
    assert report.result.contract == "passed"
    assert report.result.app.name == "mine"
