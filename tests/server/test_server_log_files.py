"""Log files: limited in size, and never the reason for an end."""

import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from enginecrate.server.logs.configuration import configure_logs
from enginecrate.server.logs.events import log_event
from enginecrate.server.logs.files import FILE_NAME, log_folder
from enginecrate.settings import load_settings

_log = logging.getLogger("enginecrate.server.test")


@pytest.fixture(autouse=True)
def _restore_logging() -> Iterator[None]:
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    yield
    for handler in root.handlers:
        if handler not in before:
            handler.close()
    root.handlers[:] = before
    root.setLevel(level)


def configure(folder: Path, **flags: object) -> io.StringIO:
    stream = io.StringIO()
    settings = load_settings(environment={}, flags={"log_dir": str(folder), **flags})
    configure_logs(settings, stream)
    return stream


def records(file: Path) -> list[dict]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_every_line_is_in_the_file_at_once_and_in_the_stream(tmp_path: Path):
    stream = configure(tmp_path / "new" / "logs", log_format="json")
    log_event(_log, "a photo \xfc", number=1)
    (found,) = records(tmp_path / "new" / "logs" / FILE_NAME)
    assert found == json.loads(stream.getvalue())
    assert found["number"] == 1


def test_files_and_their_sizes_are_limited(tmp_path: Path):
    configure(tmp_path, log_file_bytes=4096, log_files=3)
    for number in range(400):
        log_event(_log, "x" * 50, number=number)
    files = sorted(tmp_path.iterdir())
    assert [file.name for file in files] == [FILE_NAME, f"{FILE_NAME}.1", f"{FILE_NAME}.2"]
    assert all(file.stat().st_size <= 4096 for file in files)
    numbers = [one["number"] for file in reversed(files) for one in records(file)]
    assert numbers == list(range(numbers[0], 400))


def test_a_new_server_goes_on_with_the_file(tmp_path: Path):
    configure(tmp_path)
    log_event(_log, "first")
    logging.getLogger().handlers[1].close()
    configure(tmp_path)
    log_event(_log, "second")
    assert [one["message"] for one in records(tmp_path / FILE_NAME)] == ["first", "second"]


def test_a_full_disk_is_told_once_and_does_no_harm(tmp_path: Path):
    (tmp_path / FILE_NAME).symlink_to("/dev/full")
    stream = configure(tmp_path, log_format="json")
    for number in range(3):
        log_event(_log, "goes on", number=number)
    told = [json.loads(line) for line in stream.getvalue().splitlines()]
    errors = [one for one in told if one["level"] == "error"]
    assert len(errors) == 1
    assert "No space left on device" in errors[0]["message"]
    assert [one["number"] for one in told if "number" in one] == [0, 1, 2]
    (tmp_path / FILE_NAME).unlink()  # there is room again
    log_event(_log, "back")
    assert records(tmp_path / FILE_NAME)[-1]["message"] == "back"


def test_a_folder_that_cannot_be_made_is_told_once(tmp_path: Path):
    (tmp_path / "file").write_text("")
    stream = configure(tmp_path / "file" / "logs", log_format="json")
    log_event(_log, "one")
    log_event(_log, "two")
    messages = [json.loads(line)["message"] for line in stream.getvalue().splitlines()]
    assert messages[0] == "one"
    assert "Not a directory" in messages[1]
    assert messages[2:] == ["two"]


def test_without_a_setting_only_a_mount_counts(tmp_path: Path):
    settings = load_settings(environment={})
    assert log_folder(settings, tmp_path) is None
    assert log_folder(settings, Path("/proc")) == Path("/proc")
    assert log_folder(settings, tmp_path / "none") is None


def test_the_server_writes_them(launch, tmp_path: Path):
    from tiny_projects import write_tiny_project

    logs = tmp_path / "logs"
    server = launch(write_tiny_project(tmp_path / "tiny"), log_dir=logs)
    server.stop()
    assert records(logs / FILE_NAME) == server.records()
    assert [file.name for file in logs.iterdir()] == [FILE_NAME]
