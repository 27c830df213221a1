"""Releases and their verification on the command line, with images of a few kilobytes."""

import json
from pathlib import Path

import pytest

from containers import running_registry
from enginecrate.image.transports.copy import copy_image
from enginecrate.image.transports.layout import Layout
from enginecrate.release.keys.keys import make_key
from enginecrate.values import Digest
from registry_login import make_certificate
from tiny_release import (
    KEY,
    OTHER_KEY,
    TAG,
    app_files,
    base_files,
    make_release,
    plan_files,
)

PASSPHRASE = "correct horse"


@pytest.fixture(scope="module")
def keys(tmp_path_factory) -> dict[str, Path]:
    from enginecrate.release.keys.key_files import write_key_pair

    folder = tmp_path_factory.mktemp("keys")
    named = {"isv": KEY, "auditor": OTHER_KEY}
    for name, key in named.items():
        write_key_pair(folder / name, key, PASSPHRASE.encode(), rounds=1000)
    return {
        f"{name}.{half}": folder / f"{name}.{half}" for name in named for half in ("key", "pub")
    }


@pytest.fixture
def layout(tmp_path) -> str:
    make_release(tmp_path / "layout")
    return f"oci:{tmp_path / 'layout'}"


@pytest.fixture(autouse=True)
def _passphrase(monkeypatch):
    monkeypatch.setenv("ENGINECRATE_KEY_PASSPHRASE", PASSPHRASE)


def test_show(run, layout):
    for name in (TAG, "v1.2.0-release"):
        shown = run("release", "show", f"{layout}:{name}")
        assert shown.code == 0
        assert "colours 1.2.0" in shown.out
        assert "sbom-cyclonedx" in shown.out
        assert "plan cpu fp32" in shown.out
    answer = json.loads(run("release", "show", f"{layout}:{TAG}", "--json").out)
    assert answer["release"]["images"][0]["tag"] == TAG


def test_another_signer_signs_later(run, layout, keys):
    by = ("--signed-by", keys["isv.pub"], "--key", keys["auditor.key"])
    outcome = run("release", "sign", f"{layout}:v1.2.0-release", *by)
    assert outcome.code == 0
    assert "6 signatures added" in outcome.out
    image = json.loads(run("release", "show", f"{layout}:{TAG}", "--json").out)
    assert image["release"]["images"][0]["digest"] in outcome.out
    again = run("release", "sign", f"{layout}:{TAG}", *by, "--json")
    assert json.loads(again.out)["signatures"] == 0
    verified = run(
        "verify", f"{layout}:{TAG}", "--no-boot", "--json", "--require", 2,
        "--key", keys["isv.pub"], "--key", keys["auditor.pub"],
    )  # fmt: skip
    rows = {one["name"]: one["status"] for one in json.loads(verified.out)["checks"]}
    assert rows["signatures"] == rows["release"] == rows["statements"] == "passed"


def test_who_has_signed_before_must_be_said(run, layout, keys):
    words = ("release", "sign", f"{layout}:{TAG}", "--key", keys["auditor.key"])
    nobody = run(*words)
    assert nobody.code == 2
    assert "--signed-by KEY.pub or --trust FILE; who signs first of all says --first" in nobody.err
    both = run(*words, "--first", "--signed-by", keys["isv.pub"])
    assert "--signed-by and --first exclude each other" in both.err
    wrong = run(*words, "--signed-by", keys["auditor.pub"])
    assert wrong.code == 1
    assert "a key that is not among those given" in wrong.err
    run("keys", "trust", keys["isv.pub"])
    assert "signatures added" in run(*words, "--trust", "keys.toml").out
    assert "0 signatures added" in run(*words, "--first").out


def test_a_release_manifest_that_somebody_put_there_is_not_signed(run, layout, keys, tmp_path):
    """The image that was named is sound; the tag of its release leads to the thief's release."""
    transport, thief = Layout(tmp_path / "layout"), make_key()
    evil = make_release(
        tmp_path / "evil", [thief], layers=[base_files(), app_files(), plan_files(b"evil")]
    )
    good = transport.resolve(TAG).digest
    copy_image(evil.transport, TAG, transport, ["x"])
    copy_image(evil.transport, "v1.2.0-release", transport, ["v1.2.0-release"])
    key = ("--key", keys["auditor.key"])
    named = run("release", "sign", f"{layout}@{good}", "--first", *key)
    assert named.code == 2
    assert f"does not list the image {good}" in named.err
    manifest = run("release", "sign", f"{layout}:v1.2.0-release", *key,
                   "--signed-by", keys["isv.pub"])  # fmt: skip
    assert manifest.code == 1
    assert "nothing was signed" in manifest.err
    assert len(transport.referrers(Digest(evil.image.digest))) == len(
        evil.transport.referrers(Digest(evil.image.digest))
    )


def openvex(*products: str) -> str:
    return json.dumps(
        {
            "@context": "https://openvex.dev/ns/v0.2.0",
            "@id": "https://example.com/vex/2",
            "author": "ISV security",
            "timestamp": "2026-11-01T10:00:00Z",
            "version": 1,
            "statements": [
                {
                    "vulnerability": {"name": "CVE-2026-0001"},
                    "products": [{"@id": one} for one in products],
                    "status": "not_affected",
                    "justification": "vulnerable_code_not_in_execute_path",
                }
            ],
        }
    )


def statements_row(run, layout, keys) -> dict:
    outcome = run("verify", f"{layout}:{TAG}", "--key", keys["isv.pub"], "--no-boot", "--json")
    return next(one for one in json.loads(outcome.out)["checks"] if one["name"] == "statements")


def test_vex_after_the_release(run, layout, keys, tmp_path):
    file = tmp_path / "vex.json"
    file.write_text(openvex("pkg:deb/debian/zlib1g"))
    words = ("release", "vex", f"{layout}:v1.2.0-release", file)
    before = Layout(tmp_path / "layout").resolve("v1.2.0-release")
    stranger = run(*words, "--key", keys["auditor.key"])
    assert stranger.code == 1
    assert "nothing was signed" in stranger.err
    auditor = run(*words, "--key", keys["auditor.key"], "--signed-by", keys["isv.pub"])
    assert auditor.code == 0
    assert statements_row(run, layout, keys)["detail"] == "all 2 are signed and about this image"
    outcome = run(*words, "--key", keys["isv.key"])
    assert (outcome.code, TAG in outcome.out) == (0, True)
    assert "1 signature added" in outcome.err
    again = run(*words, "--key", keys["isv.key"], "--json")
    (attached,) = json.loads(again.out)["attached"]
    assert attached["signatures"] == 0
    row = statements_row(run, layout, keys)
    assert row["status"] == "passed"
    assert f"signed after the release: VEX statement {attached['statement']}" in row["detail"]
    assert Layout(tmp_path / "layout").resolve("v1.2.0-release") == before
    file.write_text(openvex("pkg:deb/debian/openssl"))
    other = run(*words, "--key", keys["isv.key"])
    assert other.code == 2
    assert "neither this image nor in it" in other.err


def test_a_release_manifest_by_its_digest(run, layout, keys):
    words = ("verify", f"{layout}:{TAG}", "--key", keys["isv.pub"], "--no-boot")
    shown = json.loads(run(*words, "--json").out)["release_digest"]
    assert f"passed   release      v1.2.0-release ({shown})" in run(*words).out
    assert "passed   release" in run(*words, "--release-digest", shown).out
    other = run(*words, "--release-digest", f"sha256:{'0' * 64}")
    assert other.code == 1
    assert "another release manifest of this version lies here" in other.out
    wrong = run(*words, "--release-digest", "v1.2.0")
    assert wrong.code == 2
    assert "not a sha256 digest" in wrong.err


def test_a_registry_with_a_certificate_of_a_private_authority(run, keys, tmp_path):
    made = make_release(tmp_path / "layout")
    authority, certificate, key = make_certificate(tmp_path)
    tls = ["  tls:", f"    certificate: {certificate}", f"    key: {key}"]
    trusting = ("--ca-file", authority)
    with running_registry(tmp_path / "registry", tls, scheme="https") as running:
        address = f"{running.address}/isv/colours"
        for tag in (TAG, "v1.2.0-release"):
            pushed = run("image", "push", f"oci:{made.transport.folder}:{tag}", address, *trusting)
            assert pushed.code == 0, pushed.err
        words = ("verify", f"{address}:{TAG}", "--key", keys["isv.pub"], "--no-boot")
        assert "passed   signatures" in run(*words, *trusting).out
        refused = run(*words)
        assert (refused.code, "certificate" in refused.err) == (6, True)
        assert run("release", "show", f"{address}:{TAG}", *trusting).code == 0
        signed = run(
            "release", "sign", f"{address}@{made.image.digest}", *trusting,
            "--signed-by", keys["isv.pub"], "--key", keys["auditor.key"],
        )  # fmt: skip
        assert "6 signatures added" in signed.out


def test_rows_and_the_exit_code_of_a_failure(run, layout, keys):
    outcome = run("verify", f"{layout}:{TAG}", "--key", keys["auditor.pub"], "--no-boot")
    assert outcome.code == 1
    assert "FAILED   signatures" in outcome.out
    assert "skipped  blobs" in outcome.out
    assert "VERIFICATION FAILED; do not run it" in outcome.err
    answer = run("verify", f"{layout}:{TAG}", "--key", keys["auditor.pub"], "--no-boot", "--json")
    assert answer.code == 1
    assert json.loads(answer.out)["verdict"] == "failed"


def test_what_could_not_run_has_an_exit_code_of_its_own(run, layout, keys, monkeypatch):
    outcome = run("verify", f"{layout}:{TAG}", "--key", keys["isv.pub"], "--no-boot")
    assert outcome.code == 11
    assert "skipped  boot" in outcome.out
    assert "--no-boot was given" in outcome.out
    assert "not everything could be examined" in outcome.err
    monkeypatch.setenv("PATH", "/nonexistent")
    without = run("verify", f"{layout}:{TAG}", "--key", keys["isv.pub"], "--json")
    assert without.code == 11
    assert json.loads(without.out)["verdict"] == "skipped"


def test_a_trust_file_is_enough(run, layout, keys):
    run("keys", "trust", keys["isv.pub"])
    outcome = run("verify", f"{layout}:{TAG}", "--trust", "keys.toml", "--no-boot", "--offline")
    assert "passed   signatures   signed by 'isv'" in outcome.out
    run("keys", "revoke", "isv", "--reason", "stolen")
    outcome = run("verify", f"{layout}:{TAG}", "--trust", "keys.toml", "--no-boot")
    assert outcome.code == 1
    assert "is revoked: stolen" in outcome.out


def words_with(text: str, values: dict[str, str]) -> str:
    for name, value in values.items():
        text = text.replace(f"{{{name}}}", value)
    return text


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("registry.example.com/isv/app:v1", "--offline", "--key", "{isv.pub}"), 2, "--offline"),
        (("reg.tar:5000/isv/app:v1", "--offline", "--key", "{isv.pub}"), 2, "--offline"),
        (("oci:nowhere:v1", "--key", "{isv.pub}"), 3, "not an OCI layout"),
        (("{layout}:v9", "--key", "{isv.pub}"), 3, "no image 'v9'"),
        (("{layout}:v1.2.0-ort-cpu",), 2, "no key to verify with"),
        (("{layout}:v1.2.0-ort-cpu", "--key", "missing.pub"), 3, "cannot read the key"),
        (("{layout}:v1.2.0-ort-cpu", "--key", "{isv.key}"), 2, "a private one"),
        (("{layout}:v1.2.0-ort-cpu", "--key", "{isv.pub}", "--require", "2"), 2, "cannot be met"),
    ],
)
def test_mistakes(run, layout, keys, words, code, said):
    values = {"layout": layout, **{name: str(path) for name, path in keys.items()}}
    filled = [words_with(word, values) for word in words]
    outcome = run("verify", *filled)
    assert outcome.code == code
    assert said in outcome.err


def test_a_release_needs_images_and_a_lock(run, project, keys):
    no_images = run("release", "create", "--project", project, "--key", keys["isv.key"])
    assert no_images.code == 3
    assert "enginecrate image build" in no_images.err
    (project / "build").mkdir(exist_ok=True)
    make_release(project / "build" / "image")
    no_lock = run("release", "create", "--project", project, "--key", keys["isv.key"])
    assert no_lock.code == 2
    assert "enginecrate lock" in no_lock.err
