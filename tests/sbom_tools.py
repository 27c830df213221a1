"""What other programs say about an image and its bills."""

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import license_expression
import pytest
from spdx_tools.spdx.model.document import Document
from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document

from enginecrate.image.sbom.model import Kind, Sbom
from enginecrate.values import canonical_name

Package = tuple[str, str]


def listed(bill: Sbom) -> set[Package]:
    """Name and version of each deb and wheel."""
    return {
        (canonical_name(one.name) if one.kind is Kind.WHEEL else one.name, one.version)
        for one in bill.of_kind(Kind.DEB, Kind.WHEEL)
    }


def syft(layout: Path, home: Path) -> tuple[dict[str, Any], set[Package]]:
    """The distribution and the packages that syft finds in the image of a layout."""
    output = home / "syft.json"
    program = Path(sys.executable).with_name("syft")
    subprocess.run(
        [program, "scan", f"oci-dir:{layout}", "-q", "-o", f"syft-json={output}"],
        env=os.environ | {"SYFT_CHECK_FOR_APP_UPDATE": "false", "HOME": str(home)},
        check=True,
        timeout=240,
    )
    found = json.loads(output.read_bytes())
    packages = {
        (canonical_name(one["name"]) if one["type"] == "python" else one["name"], one["version"])
        for one in found["artifacts"]
        if one["type"] in ("deb", "python")
    }
    return found["distro"], packages


def spdx_faults(document: Document, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the validator of spdx-tools finds. It reads the list of licences once, not each time."""
    once = cache(license_expression.get_spdx_licensing)
    monkeypatch.setattr(license_expression, "get_spdx_licensing", once)
    return list(validate_full_spdx_document(document))
