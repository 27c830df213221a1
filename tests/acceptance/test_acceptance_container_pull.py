"""From a registry to boxes, as on a new machine of a customer."""

from pathlib import Path

import pytest

from containers import Podman, Registry
from running_container import running
from sample_image import TAG, run_program
from shaped_proxy import shaped_proxy

LINE = 100e6 / 8
"""Bytes per second of a line with 100 Mbit/s."""


@pytest.fixture
def empty_podman(tmp_path: Path):
    tools = Podman(tmp_path / "podman")
    yield tools
    tools.close()


@pytest.mark.full
def test_pulled_over_a_customers_line_it_serves(
    empty_podman: Podman, registry: Registry, built_image: Path
):
    image = "customer/photo-detector"
    run_program("image", "push", f"oci:{built_image}:{TAG}", f"{registry.address}/{image}:{TAG}")
    with shaped_proxy(registry.address, LINE) as line:
        reference = f"{line.address}/{image}:{TAG}"
        with running(empty_podman, reference, "--tls-verify=false", timeout=170) as container:
            assert container.wait_until_it_serves().endswith("(shipped)")
            assert container.labels()[0] == "person"
        layers = sum(path.stat().st_size for path in (built_image / "blobs").rglob("*"))
        assert 50_000_000 < line.received < layers + 10_000_000
