import json
from pathlib import Path

import pytest

from containers import running_registry
from enginecrate.image.audit.rules.rule_data import load_rules
from enginecrate.image.formats.oci import CONFIG, MANIFEST, ImageManifest, encode
from enginecrate.image.transports.copy import copy_image
from enginecrate.image.transports.layout import Layout
from enginecrate.image.transports.reference import open_transport
from enginecrate.image.transports.registry import Repository
from enginecrate.values import ImageRef
from image_faults import FAULTS, GITHUB_TOKEN, TAG, Fault, plant
from image_plants import HUB_TOKEN, LOGIN, PASSWORD
from layered_images import Item, folder, symlink
from registry_login import make_certificate


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image with a private key, a shell, and a name that plays with the terminal."""
    strange = Fault("", app=[Item("srv/\x1b[31m[red]", b"x", 0o666)])
    folder = tmp_path_factory.mktemp("bad")
    plant(folder, FAULTS["private key"], FAULTS["shell"], FAULTS["waste"], strange)
    return folder


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clean")
    plant(folder)
    return folder


def test_findings_are_shown_worst_first_with_place_and_cure(run, bad: Path):
    outcome = run("audit", f"oci:{bad}:{TAG}")
    assert outcome.code == 1
    assert outcome.out.index("EC-IMG-030") < outcome.out.index("EC-IMG-020")
    assert "layer 2 /srv/tls.key:1: a private key (PEM)" in outcome.out
    assert "cure: leave it out: assemble the image" in outcome.out
    assert "1 critical, 1 high, 1 medium, 1 info" in outcome.out
    assert "3 findings of severity low or worse" in outcome.err
    assert "EC1813" in outcome.err


def test_names_of_files_never_reach_the_terminal_raw(run, bad: Path):
    outcome = run("audit", f"oci:{bad}:{TAG}")
    assert "\x1b[31m" not in outcome.out
    assert r"/srv/\x1b[31m[red]" in outcome.out


def test_no_output_shows_a_secret(run, tmp_path: Path):
    """Neither JSON nor SARIF nor the table, whatever rule tells of the path."""
    named = f"srv/{GITHUB_TOKEN}"
    items = [
        folder(named, 0o777), Item(f"{named}/tool", b"\x7fELF", 0o4755),
        symlink("srv/gone", f"/opt/{GITHUB_TOKEN}/x"), symlink("srv/out", f"../../{HUB_TOKEN}"),
        symlink("srv/login", LOGIN), symlink("srv/word", f"/x?password={PASSWORD}"),
        Item("etc/ld.so.preload", f"/lib/{HUB_TOKEN}.so\n".encode()),
        Item("etc/passwd", f"root:x:0:0::\n{GITHUB_TOKEN}:x:0:0::\n".encode()),
    ]  # fmt: skip
    config = {
        "User": GITHUB_TOKEN, "StopSignal": HUB_TOKEN, "Cmd": [LOGIN],
        "ExposedPorts": {f"99/{HUB_TOKEN}": {}},
    }  # fmt: skip
    env = [f"LD_PRELOAD={GITHUB_TOKEN}", f"PATH=.:{LOGIN}"]
    plant(tmp_path, Fault("", app=items, config=config, env=env))
    image, sarif = f"oci:{tmp_path}:{TAG}", tmp_path / "audit.sarif"
    text, as_json = run("audit", image, "--sarif", sarif), run("audit", image, "--json")
    assert len(json.loads(as_json.out)["report"]["images"][0]["findings"]) > 10
    outputs = [text.out, text.err, as_json.out, as_json.err, sarif.read_text()]
    for secret in (GITHUB_TOKEN, HUB_TOKEN, PASSWORD):
        assert not [output for output in outputs if secret in output]


def hostile_layout(path: Path) -> Path:
    """Every text that an image may choose tries to steer the terminal, and rich's markup."""
    evil = "[/dim]\x1b[2J\u202e\x9b1m"
    layout = Layout(path, create=True)
    layer = layout.add_blob([bytes(10240)], "application/vnd.oci.image.layer.v1.tar")
    document = {
        "architecture": f"amd64{evil}", "os": f"linux{evil}", "variant": evil,
        "rootfs": {"type": "layers", "diff_ids": [layer.digest]},
        "history": [{"created_by": f"RUN {evil}"}],
    }  # fmt: skip
    config = layout.add_blob([json.dumps(document).encode()], CONFIG)
    manifest = ImageManifest(config=config, layers=(layer,), annotations={"io.x": evil})
    layout.write_manifest(encode(manifest), MANIFEST, ["v1.0.0", f"v1{evil}"])
    return path


@pytest.mark.parametrize("words", [("audit",), ("image", "show"), ("verify", "--no-boot")])
def test_nothing_of_a_foreign_image_steers_the_terminal(run, tmp_path: Path, words):
    transport = f"oci:{hostile_layout(tmp_path / 'evil')}:v1.0.0"
    if words[0] == "verify":
        run("keys", "new", tmp_path / "isv", "--passphrase-file", secret(tmp_path))
        words = (*words, "--key", tmp_path / "isv.pub")
    outcome = run(*words, transport)
    shown = outcome.out + outcome.err
    assert "this is a bug" not in shown
    assert all(line.isprintable() for line in shown.split("\n"))
    if words[0] != "verify":
        assert r"linux[/dim]\x1b[2J\u202e\x9b1m" in outcome.out


def secret(folder: Path) -> Path:
    (folder / "secret").write_text("correct horse\n")
    return folder / "secret"


def test_a_clean_image_passes(run, clean: Path):
    outcome = run("audit", f"oci:{clean}:{TAG}")
    assert (outcome.code, "no findings" in outcome.out) == (0, True)
    # A layout with one image needs no tag.
    assert run("audit", str(clean)).code == 0


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--fail-on", "never"], 0),
        (["--fail-on", "critical"], 1),
        (["--fail-on", "high", "--ignore", "EC-IMG-030=old", "--ignore", "EC-IMG-012"], 0),
        (["--fail-on", "medium", "--ignore", "EC-IMG-030=old", "--ignore", "EC-IMG-012"], 1),
        (["--ignore", "EC-IMG-999"], 2),
        (["--fail-on", "awful"], 2),
        (["--platform", "linux/riscv64"], 3),
        (["--platform", "linux/amd64", "--fail-on", "never"], 0),
    ],
)
def test_what_makes_the_audit_fail(run, bad: Path, arguments: list[str], code: int):
    assert run("audit", f"oci:{bad}:{TAG}", *arguments).code == code


def test_ignored_rules_are_shown_with_their_reason(run, bad: Path):
    reason = "--ignore=EC-IMG-030=a key for tests alone"
    outcome = run("audit", f"oci:{bad}:{TAG}", reason, "--ignore", "EC-IMG-020")
    assert "a private key (PEM) -- a key for tests alone" in outcome.out
    assert "shell: dash -- no reason given" in outcome.out


def test_scripts_get_one_json_document(run, bad: Path, clean: Path):
    outcome = run("audit", f"oci:{bad}:{TAG}", "--json")
    document = json.loads(outcome.out)
    assert (outcome.code, document["passed"], document["fail_on"]) == (1, False, "low")
    assert document["counts"] == {"critical": 1, "high": 1, "medium": 1, "low": 0, "info": 1}
    image = document["report"]["images"][0]
    assert set(image["findings"][0]) == {
        "rule", "title", "severity", "message", "path", "layer", "line", "cure",
    }  # fmt: skip
    assert json.loads(run("audit", f"oci:{clean}:{TAG}", "--json").out)["passed"] is True


def test_sarif_goes_to_a_file_or_to_stdout(run, bad: Path, tmp_path: Path):
    file = tmp_path / "audit.sarif"
    printed = run("audit", f"oci:{bad}:{TAG}", "--format", "sarif", "--sarif", file)
    assert printed.code == 1
    assert json.loads(printed.out) == json.loads(file.read_text())
    assert len(json.loads(printed.out)["runs"][0]["results"]) == 4
    refused = run("audit", f"oci:{bad}:{TAG}", "--sarif", tmp_path / "no" / "a.sarif")
    assert (refused.code, "cannot write" in refused.err) == (6, True)


def test_all_rules_can_be_listed(run):
    text, rules = run("audit", "--rules").out, json.loads(run("audit", "--rules", "--json").out)
    assert [rule["id"] for rule in rules["rules"]] == list(load_rules())
    for rule in load_rules().values():
        assert rule.id in text
        assert rule.cure in text


def test_the_page_lists_every_rule_with_its_severity():
    page = Path(__file__).parents[2].joinpath("docs", "hardening.md").read_text(encoding="utf-8")
    for rule in load_rules().values():
        assert f"| `{rule.id}` | {rule.severity} | {rule.title} |" in page


def test_mistakes(run, tmp_path: Path):
    nothing = run("audit")
    assert (nothing.code, "say which image" in nothing.err) == (2, True)
    missing = run("audit", f"oci:{tmp_path}:v1")
    assert (missing.code, "is not an OCI layout" in missing.err) == (3, True)


@pytest.mark.parametrize("kind", ["docker-archive", "oci-archive"])
def test_archives_of_podman_are_audited(run, podman, clean: Path, bad: Path, tmp_path: Path, kind):
    for place, name in ((clean, "audit-clean"), (bad, "audit-bad")):
        identity = podman.run("pull", f"oci:{place}:{TAG}").stdout.split()[-1]
        podman.run("tag", identity, f"localhost/{name}:v1.0.0")
        file = tmp_path / f"{name}.tar"
        podman.run("save", "--format", kind, "--output", file, f"localhost/{name}:v1.0.0")
        outcome = run("audit", file, "--json")
        rules = {one["rule"] for one in json.loads(outcome.out)["report"]["images"][0]["findings"]}
        wanted = {"EC-IMG-030", "EC-IMG-020"} if folder == bad else set()
        assert wanted <= rules
        if folder == clean:
            # What such an archive does not keep: annotations and signatures.
            assert rules <= {"EC-IMG-053", "EC-IMG-070"}


def test_images_in_a_registry_are_audited(run, registry, bad: Path):
    for tag in (TAG, "latest"):
        name = f"{registry.address}/audit/bad:{tag}"
        source, source_name = open_transport(f"oci:{bad}:{TAG}")
        target = Repository(ImageRef.parse(name), write=True)
        copy_image(source, source_name, target, [tag])
        outcome = run("audit", name, "--json")
        report = json.loads(outcome.out)["report"]
        assert report["image"] == name
        # The signature came along; a tag with a version names the same image as `latest`.
        rules = [one["rule"] for one in report["images"][0]["findings"]]
        assert rules == ["EC-IMG-030", "EC-IMG-012", "EC-IMG-020", "EC-IMG-074"]
    assert run("audit", f"{registry.address}/audit/none:v1.0.0").code == 3


def test_a_registry_with_a_certificate_of_a_private_authority(run, clean: Path, tmp_path: Path):
    authority, certificate, key = make_certificate(tmp_path)
    tls = ["  tls:", f"    certificate: {certificate}", f"    key: {key}"]
    with running_registry(tmp_path / "registry", tls, scheme="https") as running:
        name = f"{running.address}/isv/app:{TAG}"
        pushed = run("image", "push", clean, name, "--ca-file", authority)
        assert pushed.code == 0, pushed.err
        for words in (("audit", name), ("image", "show", name)):
            assert run(*words, "--ca-file", authority).code == 0
            refused = run(*words)
            assert (refused.code, "certificate" in refused.err) == (6, True), refused
