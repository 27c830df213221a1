"""The files of the pages: small, self-contained, and as pinned."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

ROOT = Path(__file__).resolve().parents[2]
DASHBOARD = ROOT / "src/enginecrate/server/dashboard"
OURS = sorted(
    path for path in DASHBOARD.rglob("*") if path.is_file() and "vendor" not in path.parts
)


def test_pages_are_small() -> None:
    assert sum(path.stat().st_size for path in OURS) < 66_000


@pytest.mark.parametrize("path", OURS, ids=lambda path: path.name)
def test_file_names_no_host_and_holds_no_inline_code(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    hosts = set(re.findall(r"https?://[^\s\"'<>`)]+", text)) - {"http://www.w3.org/2000/svg"}
    assert hosts == set()
    if path.suffix == ".html":
        assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", text)
    if path.suffix == ".js":
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|\beval\(|new Function", text)


def test_vendored_files_are_as_pinned() -> None:
    script = [sys.executable, ROOT / "scripts/vendor_swagger_ui.py", "--check"]
    done = subprocess.run(script, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_pages_forbid_inline_code_and_other_hosts(path: str, detection_url: str) -> None:
    answer = httpx.get(detection_url + path)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    policy = answer.headers["content-security-policy"]
    assert "unsafe" not in policy
    assert re.search(r"default-src '(none|self)'", policy)
    assert "frame-ancestors 'none'" in policy
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_unchanged_file_is_not_sent_twice(detection_url: str) -> None:
    first = httpx.get(f"{detection_url}/assets/app.js")
    again = httpx.get(
        f"{detection_url}/assets/app.js", headers={"If-None-Match": first.headers["etag"]}
    )
    assert (first.status_code, again.status_code, again.content) == (200, 304, b"")


@pytest.mark.parametrize(
    "path",
    ["/assets/../index.html", "/assets/%2e%2e/%2e%2e/openapi.py", "/assets/", "/assets/x.js"],
)
def test_nothing_else_is_served(path: str, detection_url: str) -> None:
    with httpx.Client() as client:
        url = httpx.URL(detection_url).copy_with(raw_path=path.encode())
        assert client.get(url).status_code == 404
