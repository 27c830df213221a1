"""The line that runs a new image: it is copied into a shell, wherever the layout lies."""

import subprocess
from pathlib import Path

import pytest

from containers import Podman
from enginecrate.cli.image.output import podman_lines
from enginecrate.image.transports.layout import Layout
from running import PROGRAM
from small_images import add_image

TAG = "v1.0.0-ort-cpu"


@pytest.mark.parametrize(
    "path",
    [
        "plain/build/image",
        "My Apps/検査 'new'/build/image",
        'quote"d $HOME `x`/_under/build/image',
        "plain/My Image",
        "plain/__odd__",
    ],
)
def test_the_printed_line_runs(podman: Podman, tmp_path: Path, path: str):
    folder = tmp_path / path
    folder.parent.mkdir(parents=True)
    add_image(Layout(folder, create=True), [TAG], command=["/none"])
    lines = podman_lines(folder, TAG, "colours")
    script = "\n".join(lines).replace("podman run --rm -p 8000:8000", "podman create")
    done = subprocess.run(
        ["bash", "-euc", script],
        cwd=tmp_path,
        env=podman.environment | {"PATH": f"{PROGRAM.parent}:{podman.environment['PATH']}"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, (script, done.stderr)
