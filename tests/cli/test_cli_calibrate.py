"""`enginecrate calibrate`."""

import json
from pathlib import Path

from enginecrate.builder.quantization.calibration import load_table


def test_a_folder_gives_a_table_that_is_reused(run, project: Path, photos: Path, tmp_path: Path):
    output = tmp_path / "table.json"
    first = run("calibrate", photos, "--project", project, "--output", output)
    assert first.code == 0, first.err
    assert "(made)" in first.out
    assert "3 and 51 changed copies" in first.out
    assert "Warning: 3 photos" in first.err
    assert "about 500 are recommended" in first.err
    table = load_table(output)
    assert table.digest[:19] in first.out
    again = run("calibrate", photos, "--project", project)
    assert "reused: made before of the same model, pipeline and photos" in again.out
    assert table.digest[:19] in again.out


def test_json_says_all_of_it(run, project: Path, photos: Path, tmp_path: Path):
    mixed = tmp_path / "mixed"
    mixed.mkdir()
    for photo in photos.iterdir():
        (mixed / photo.name).write_bytes(photo.read_bytes())
    (mixed / "broken.png").write_bytes(b"broken")
    outcome = run("calibrate", mixed, "--project", project, "--method", "entropy", "--json")
    assert outcome.code == 0, outcome.err
    found = json.loads(outcome.out)
    assert found["method"] == "entropy"
    assert (found["photos"], found["copies"]) == (3, 51)
    assert [one["name"] for one in found["skipped"]] == ["broken.png"]
    assert "500" in found["warning"]
    assert load_table(Path(found["table"])).digest == found["digest"]
    spoken = run("calibrate", mixed, "--project", project, "--method", "entropy")
    assert "1 file was skipped" in spoken.err
    assert "broken.png: " in spoken.err


def test_the_manifest_names_the_folder_and_the_method(run, project: Path, photos: Path):
    missing = run("calibrate", "--project", project)
    assert missing.code != 0
    assert "no folder of photos is given" in missing.err
    manifest = project / "enginecrate.toml"
    text = manifest.read_text()
    assert "[precision]" not in text or "calibration" not in text
    (project / "calibration").mkdir()
    for photo in photos.iterdir():
        (project / "calibration" / photo.name).write_bytes(photo.read_bytes())
    section = 'calibration = { images = "calibration/", method = "percentile", max_images = 2 }\n'
    if "[precision]\n" in text:
        text = text.replace("[precision]\n", f"[precision]\n{section}")
    else:
        text += f"\n[precision]\n{section}"
    manifest.write_text(text)
    outcome = run("calibrate", "--project", project, "--json")
    assert outcome.code == 0, outcome.err
    found = json.loads(outcome.out)
    assert (found["method"], found["photos"], found["copies"]) == ("percentile", 2, 0)
    other = run("calibrate", "--project", project, "--method", "minmax", "--json")
    assert json.loads(other.out)["method"] == "minmax"


def test_mistakes_are_explained(run, project: Path, photos: Path, tmp_path: Path):
    empty = tmp_path / "empty"
    empty.mkdir()
    for words, message in (
        ([tmp_path / "nowhere"], "there is no folder"),
        ([empty], "holds no photos"),
        ([photos, "--method", "entropie"], "did you mean 'entropy'?"),
        ([photos, "--percentile", "99"], "--percentile goes with --method percentile"),
        ([photos, "--output", tmp_path / "no" / "such" / "folder.json"], "cannot write"),
    ):
        outcome = run("calibrate", *words, "--project", project)
        assert outcome.code not in (0, 70), words
        assert message in outcome.err
        assert "Traceback" not in outcome.err


def test_the_verb_may_be_written_like_an_option(run, project: Path, photos: Path):
    outcome = run("--calibrate", photos, "--project", project, "--json")
    assert outcome.code == 0, outcome.err
    assert json.loads(outcome.out)["photos"] == 3
