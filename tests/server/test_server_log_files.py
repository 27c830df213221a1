"""Log files: limited in size, and never the reason for an end."""

import asyncio
import io
import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest

from enginecrate.server.logs.configuration import configure_logs
from enginecrate.server.logs.events import log_event
from enginecrate.server.logs.files import FILE_NAME, log_folder
from enginecrate.server.logs.request_log import log_request
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


_WRITER = """
import asyncio, logging, sys
from enginecrate.server.logs.configuration import configure_logs
from enginecrate.server.logs.events import log_event
from enginecrate.server.logs.request_log import log_request
from enginecrate.settings import load_settings

name, rounds = sys.argv[1], int(sys.argv[2])
configure_logs(load_settings(environment={}, flags={"log_format": "json"}), process=name)

async def main():
    for number in range(rounds):
        for part in range(20):
            fields = {"model": "m", "number": number * 21 + part, "text": "x" * (part * 50)}
            log_request("POST", "/v1/predict", 200, 0.01, "id", None, fields)
        log_event(logging.getLogger("enginecrate.test"), "event", number=number * 21 + 20)
        await asyncio.sleep(0)
    log_request("POST", "/v1/predict", 200, 0.01, "id", None, {"model": "m", "number": rounds * 21})

asyncio.run(main())
"""


def test_lines_of_several_processes_are_whole_in_order_and_complete():
    names, rounds = ["front end 1", "front end 2", "engine"], 40
    reading, writing = os.pipe()
    children = [
        subprocess.Popen([sys.executable, "-c", _WRITER, name, str(rounds)], stderr=writing)
        for name in names
    ]
    os.close(writing)
    with os.fdopen(reading, encoding="utf-8") as pipe:
        lines = [json.loads(line) for line in pipe]
    assert [child.wait() for child in children] == [0, 0, 0]
    for name in names:
        numbers = [line["number"] for line in lines if line["process"] == name]
        assert numbers == list(range(rounds * 21 + 1))


def test_requests_of_one_round_are_written_together_and_before_an_event():
    class Stream(io.StringIO):
        writes: ClassVar[list[int]] = []

        def write(self, text: str) -> int:
            self.writes.append(text.count("\n"))
            return super().write(text)

    stream = Stream()
    configure_logs(load_settings(environment={}, flags={"log_format": "json"}), stream)

    async def work() -> None:
        for _ in range(3):
            log_request("POST", "/v1/predict", 200, 0.01, "id", None, {"model": "m"})
        assert not stream.writes
        await asyncio.sleep(0)
        assert stream.writes == [3]
        log_request("POST", "/v1/predict", 200, 0.01, "id", None, {"model": "m"})
        log_event(_log, "an event")
        assert stream.writes == [3, 2]
        log_request("POST", "/v1/predict", 200, 0.01, "last", None, {"model": "m"})

    asyncio.run(work())
    logging.getLogger().handlers[0].flush()
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert lines[-2]["message"] == "an event"
    assert lines[-1]["request_id"] == "last"


def test_a_long_line_of_a_child_is_cut():
    stream = io.StringIO()
    settings = load_settings(environment={}, flags={"log_format": "json"})
    configure_logs(settings, stream, process="engine")
    log_event(_log, "short", error="\xfc" * 5000, code="EC1")
    try:
        raise ValueError("x" * 5000 + "the end")
    except ValueError:
        _log.exception("broke")
    first, second = stream.getvalue().splitlines()
    assert max(len(first.encode()), len(second.encode())) < 4096
    assert json.loads(first)["error"].endswith("\xfc ...")
    assert (json.loads(first)["code"], json.loads(first)["message"]) == ("EC1", "short")
    assert json.loads(second)["exception"].endswith("the end")


def test_a_reader_that_has_gone_does_no_harm(tmp_path: Path):
    reading, writing = os.pipe()
    os.close(reading)
    settings = load_settings(environment={}, flags={"log_dir": str(tmp_path)})
    with os.fdopen(writing, "w") as stream:
        configure_logs(settings, stream)
        log_event(_log, "goes on")
        assert records(tmp_path / FILE_NAME)[0]["message"] == "goes on"
