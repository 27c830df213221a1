"""The dashboard in a real browser, before a real server of the sample detector."""

from __future__ import annotations

import base64
import io
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image
from playwright.sync_api import Page, expect

SEND_FILE = """async ([event, name, type, base64]) => {
  const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
  const data = new DataTransfer();
  data.items.add(new File([bytes], name, { type }));
  if (event === "paste") {
    window.dispatchEvent(new ClipboardEvent("paste", { clipboardData: data }));
    return;
  }
  for (const name of ["dragenter", "dragover", "drop"]) {
    const options = { dataTransfer: data, bubbles: true, cancelable: true };
    document.getElementById("stage").dispatchEvent(new DragEvent(name, options));
  }
}"""

POLL = "document.dispatchEvent(new Event('visibilitychange'))"
"""The event of a page that is looked at again: it asks for the status at once."""

DRAWN = """() => {
  const photo = document.getElementById("photo").getBoundingClientRect();
  const scale = document.getElementById("photo").naturalWidth / photo.width;
  return [...document.querySelectorAll("#boxes .line")].map((line) => {
    const { left, top, right, bottom } = line.getBoundingClientRect();
    const box = [left - photo.left, top - photo.top, right - photo.left, bottom - photo.top];
    const tag = document.querySelector(`.tag[data-index="${line.parentNode.dataset.index}"]`);
    return { label: tag.textContent, box: box.map((value) => value * scale) };
  });
}"""

PIXEL = """([x, y]) => {
  const photo = document.getElementById("photo");
  const canvas = document.createElement("canvas");
  canvas.width = photo.naturalWidth;
  canvas.height = photo.naturalHeight;
  const context = canvas.getContext("2d");
  context.drawImage(photo, 0, 0);
  return [...context.getImageData(x, y, 1, 1).data].slice(0, 3);
}"""


def open_dashboard(page: Page, url: str, state: str = "ready") -> None:
    page.goto(url)
    expect(page.locator("#state")).to_have_attribute("data-state", state)


def choose(page: Page, file: Path) -> None:
    page.set_input_files("#file", file)
    expect(page.locator("#timing")).to_be_visible()


def answer_of(page: Page) -> dict[str, Any]:
    """The answer as the page shows it."""
    return json.loads(page.locator("#pane-json").text_content() or "")


def send_file(page: Page, event: str, file: Path) -> None:
    data = base64.b64encode(file.read_bytes()).decode()
    page.evaluate(SEND_FILE, [event, file.name, "image/png", data])


def test_person_is_boxed_where_the_server_says(
    page: Page, detection_url: str, photos: Path
) -> None:
    open_dashboard(page, detection_url)
    choose(page, photos / "astronaut.png")

    direct = httpx.post(
        f"{detection_url}/v1/predict", content=(photos / "astronaut.png").read_bytes()
    ).json()
    result = direct["results"][0]
    assert answer_of(page)["results"] == [result]

    drawn = page.evaluate(DRAWN)
    assert len(drawn) == len(result["detections"]) >= 1
    for detection in result["detections"]:
        text = f"{detection['label']} {detection['score']:.2f}"
        near = [
            box["box"]
            for box in drawn
            if box["label"] == text
            and box["box"] == pytest.approx(detection["box"], abs=result["width"] / 400)
        ]
        assert near, f"no box for {detection} among {drawn}"
    expect(page.locator("#results tbody tr").first).to_contain_text("person")
    expect(page.locator("#results-count")).to_have_text(str(len(drawn)))


def test_photo_comes_in_by_drop_and_by_paste(page: Page, detection_url: str, photos: Path) -> None:
    open_dashboard(page, detection_url)
    send_file(page, "drop", photos / "astronaut.png")
    expect(page.locator("#tags")).to_contain_text("person")
    expect(page.locator("#caption")).to_contain_text("astronaut.png 512 × 512")
    send_file(page, "paste", photos / "coffee.png")
    expect(page.locator("#tags")).to_contain_text("cup")
    expect(page.locator("#caption")).to_contain_text("coffee.png 600 × 400")


@pytest.mark.parametrize(
    ("image_format", "orientation"),
    [("JPEG", 6), ("PNG", 3), ("WEBP", 5)],
)
def test_turned_photo_is_shown_upright(
    image_format: str,
    orientation: int,
    page: Page,
    detection_url: str,
    photos: Path,
    tmp_path: Path,
) -> None:
    upright = Image.open(photos / "astronaut.png").convert("RGB").crop((0, 0, 512, 400))
    stored = upright.transpose(
        {
            3: Image.Transpose.ROTATE_180,
            5: Image.Transpose.TRANSPOSE,
            6: Image.Transpose.ROTATE_90,
        }[orientation]
    )
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = tmp_path / f"turned.{image_format.lower()}"
    stored.save(file, image_format, exif=exif, quality=95)

    open_dashboard(page, detection_url)
    choose(page, file)

    assert page.evaluate("[photo.naturalWidth, photo.naturalHeight]") == [512, 400]
    assert page.locator("#boxes").get_attribute("viewBox") == "0 0 512 400"
    for place in ((20, 20), (490, 20), (255, 300), (60, 380)):
        assert page.evaluate(PIXEL, list(place)) == pytest.approx(upright.getpixel(place), abs=40)
    expect(page.locator("#tags")).to_contain_text("person")


def test_table_and_slider_steer_the_boxes(page: Page, detection_url: str, photos: Path) -> None:
    open_dashboard(page, detection_url)
    choose(page, photos / "astronaut.png")
    row, box = page.locator('tr[data-index="0"]'), page.locator('.box[data-index="0"]')
    active = re.compile(r"\bactive\b")

    row.hover()
    expect(box).to_have_class(active)
    page.mouse.move(0, 0)
    expect(box).not_to_have_class(active)
    row.focus()
    expect(box).to_have_class(active)

    best = answer_of(page)["results"][0]["detections"][0]["score"]
    assert float(page.locator("#score").input_value()) == pytest.approx(0.4)
    page.locator("#score").fill(f"{best - 0.02:.2f}")
    expect(page.locator(".tag:visible")).to_have_count(1)
    page.locator("#score").fill("1")
    expect(page.locator(".tag:visible")).to_have_count(0)
    expect(page.locator("#results-body")).to_contain_text("Every box is below the chosen score")


def test_classes_are_bars(page: Page, classification_url: str, photos: Path) -> None:
    open_dashboard(page, classification_url)
    choose(page, photos / "coffee.png")
    classes = answer_of(page)["results"][0]["classes"]
    assert classes[0]["label"] == "espresso"
    expect(page.locator("#results li .name")).to_have_text([found["label"] for found in classes])
    widths = page.evaluate(
        "[...document.querySelectorAll('.classes .fill')].map((fill) =>"
        " fill.getBoundingClientRect().width / fill.parentNode.getBoundingClientRect().width)"
    )
    assert widths == pytest.approx([found["score"] for found in classes], abs=0.01)
    expect(page.locator("#threshold")).to_be_hidden()


def test_app_of_tensors_shows_a_command_that_works(page: Page, tensors_url: str) -> None:
    open_dashboard(page, tensors_url, state="unproven")
    expect(page.locator("#notice")).to_contain_text("no golden sample")
    expect(page.locator("#tensors")).to_be_visible()
    expect(page.locator("#drop")).to_be_hidden()
    expect(page.locator("#model-body")).to_contain_text("[-1, 3]")
    expect(page.locator("#pane-curl")).to_contain_text("/infer")

    first, second = (page.locator("#pane-curl").text_content() or "").split("|")
    python, *arguments = shlex.split(first)
    assert python == "python3"
    body = subprocess.run([sys.executable, *arguments], check=True, capture_output=True).stdout
    url = shlex.split(second.replace("\\\n", ""))[-1]
    answer = httpx.post(url, content=body, headers={"Content-Type": "application/json"})
    assert answer.json()["outputs"][0]["data"] == [0, 0, 0]


def test_tensors_of_a_photo_are_shown_by_their_range(
    page: Page, image_url: str, photos: Path
) -> None:
    open_dashboard(page, image_url, state="unproven")
    expect(page.locator("#drop")).to_be_visible()
    choose(page, photos / "coffee.png")
    expect(page.locator("#photo")).to_be_visible()
    expect(page.locator("#annotate")).to_be_hidden()
    expect(page.locator("#threshold")).to_be_hidden()
    answer = httpx.post(f"{image_url}/v1/predict", content=(photos / "coffee.png").read_bytes())
    rows = page.locator("#results-body tbody tr")
    for row, output in enumerate(answer.json()["results"][0]["outputs"]):
        expect(rows.nth(row).locator("td").first).to_have_text(output["name"])
        shape = f"FP32 [{', '.join(map(str, output['shape']))}]"
        expect(rows.nth(row).locator("td").nth(1)).to_have_text(shape)
        least = float(rows.nth(row).locator("td").nth(2).text_content() or "")
        assert least == pytest.approx(min(output["data"]), rel=1e-3)
    page.locator("#tab-json").click()
    expect(page.locator("#pane-json")).to_contain_text("and 1088 more")


def test_failed_app_says_why(page: Page, failed_url: str) -> None:
    open_dashboard(page, failed_url, state="failed")
    reason = httpx.get(f"{failed_url}/v1/status").json()["reason"]
    assert "ones.npz" in reason
    expect(page.locator("#notice")).to_have_text(reason)
    expect(page.locator("#state")).to_have_text("Failed")


def test_wrong_file_shows_the_servers_sentence(
    watched: Any, detection_url: str, tmp_path: Path
) -> None:
    page = watched.page
    file = tmp_path / "notes.jpg"
    file.write_text("not a photo\n")
    direct = httpx.post(f"{detection_url}/v1/predict", content=file.read_bytes())
    assert direct.status_code == 415

    open_dashboard(page, detection_url)
    page.set_input_files("#file", file)

    problem = page.locator("#problem")
    expect(problem).to_contain_text(direct.json()["detail"])
    expect(problem).to_contain_text("notes.jpg · EC1403 · HTTP 415")
    expect(page.locator("#drop")).to_be_visible()
    assert answer_of(page)["code"] == "EC1403"
    # The browser itself notes the status of a failed request; nothing else may be there.
    assert all("status of 415" in text for text in watched.complaints)


def test_command_sends_the_same_request(page: Page, detection_url: str, tmp_path: Path) -> None:
    file = tmp_path / "it's a photo.png"
    Image.new("RGB", (64, 48), "white").save(file)
    open_dashboard(page, detection_url)
    choose(page, file)
    expect(page.locator("#results-body")).to_contain_text("Nothing was found")

    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.click("#copy")
    command = page.evaluate("navigator.clipboard.readText()")
    assert shlex.split(command.replace("\\\n", "")) == [
        *("curl", "-sS"),
        *("-H", "Content-Type: image/png"),
        *("--data-binary", "@it's a photo.png"),
        f"{detection_url}/v1/predict",
    ]


def test_header_says_who_serves_and_how_busy(page: Page, detection_url: str, photos: Path) -> None:
    open_dashboard(page, detection_url)
    status = httpx.get(f"{detection_url}/v1/status").json()
    expect(page.locator("#app-name")).to_have_text(status["app"])
    expect(page.locator("#app-version")).to_have_text(status["version"])
    expect(page.locator("#engine li")).to_have_text(["onnxruntime", "fp32", "cpu"])
    before = int(page.locator("#live-requests").inner_text().replace(",", ""))

    choose(page, photos / "astronaut.png")

    expect(page.locator("#live-requests")).to_have_text(f"{before + 1:,}")
    expect(page.locator("#live-p50")).to_contain_text("ms")
    timing = answer_of(page)["timing_ms"]
    compute = page.locator("#timing-legend dt[data-stage=compute] + dd").inner_text()
    assert float(compute.split()[0]) == pytest.approx(timing["compute"], rel=0.01)
    expect(page.locator("#model-body")).to_contain_text("[-1, 3, 416, 416]")


def test_boxes_can_be_saved(page: Page, detection_url: str, photos: Path) -> None:
    open_dashboard(page, detection_url)
    choose(page, photos / "astronaut.png")
    with page.expect_download() as download:
        page.click("#annotate")
    assert download.value.suggested_filename == "astronaut-annotated.png"
    assert Image.open(io.BytesIO(download.value.path().read_bytes())).size == (512, 512)


def test_lost_server_is_noticed(watched: Any, detection_url: str) -> None:
    page = watched.page
    open_dashboard(page, detection_url)
    page.context.set_offline(True)
    page.evaluate(POLL)
    expect(page.locator("#state")).to_have_text("Unreachable")
    page.context.set_offline(False)
    page.evaluate(POLL)
    expect(page.locator("#state")).to_have_text("Ready")


def test_keyboard_alone_is_enough(page: Page, detection_url: str, photos: Path) -> None:
    page.on("filechooser", lambda chooser: None)  # set up before the key is pressed
    open_dashboard(page, detection_url)
    for _ in range(3):  # skip link, API docs, the drop button
        page.keyboard.press("Tab")
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Enter")
    chooser.value.set_files(photos / "astronaut.png")
    expect(page.locator("#timing")).to_be_visible()
    expect(page.locator("#choose")).to_be_focused()
    page.focus("#tab-curl")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#pane-json")).to_be_visible()
    expect(page.locator("#tab-json")).to_be_focused()


def test_narrow_screen_needs_no_sideways_scrolling(
    page: Page, detection_url: str, photos: Path
) -> None:
    page.set_viewport_size({"width": 320, "height": 844})
    open_dashboard(page, detection_url)
    choose(page, photos / "astronaut.png")
    for width in (320, 390, 620, 768, 960):
        page.set_viewport_size({"width": width, "height": 844})
        assert page.evaluate("document.documentElement.scrollWidth") <= width


CONTRAST = """(pairs) => {
  const probe = document.body.appendChild(document.createElement("span"));
  const luminance = (name) => {
    probe.style.color = `var(${name})`;
    const channels = getComputedStyle(probe).color.match(/[\\d.]+/g).slice(0, 3).map(Number);
    const linear = channels.map((c) => c / 255).map((c) =>
      c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
  };
  return pairs.map(([ink, ground]) => {
    const [low, high] = [luminance(ink), luminance(ground)].sort((a, b) => a - b);
    return [ink, ground, (high + 0.05) / (low + 0.05)];
  });
}"""


def test_text_has_the_contrast_that_wcag_asks_for(page: Page, detection_url: str) -> None:
    """WCAG 2.2, 1.4.3: 4.5 to 1 for text; 1.4.11: 3 to 1 for the edges of controls."""
    page.goto(detection_url)
    grounds = ("--bg", "--surface", "--sunken")
    inks = ("--ink", "--muted", "--accent", "--code-key", "--code-string", "--code-number")
    pairs = [(ink, ground) for ink in inks for ground in grounds]
    pairs += [(f"--{word}", f"--{word}-bg") for word in ("good", "warn", "bad")]
    pairs += [("--accent-ink", "--accent"), ("--muted", "--bad-bg")]
    grounds_seen = set()
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        grounds_seen.add(page.evaluate("getComputedStyle(document.body).backgroundColor"))
        poor = [row for row in page.evaluate(CONTRAST, pairs) if row[2] < 4.5]
        edge = page.evaluate(CONTRAST, [("--strong-line", "--surface")])
        assert (scheme, poor + [row for row in edge if row[2] < 3]) == (scheme, [])
    assert len(grounds_seen) == 2
