"""Every rule finds its fault, in its place, and nothing else."""

from pathlib import Path

import pytest

from enginecrate.errors import ImageInvalid, ImageNotFound, UsageError
from enginecrate.image.audit.audit import audit_image
from enginecrate.image.audit.report import Waiver
from enginecrate.image.audit.rules.checks import CHECKS
from enginecrate.image.audit.rules.rule_data import Severity, load_rules
from enginecrate.image.formats.oci import INDEX, ImageIndex, Platform, digest_of, encode
from enginecrate.image.transports.layout import Layout
from image_faults import AWS_KEY, FAULTS, GITHUB_TOKEN, PRIVATE_KEY, RANDOM, TAG, Fault, plant
from layered_images import Item, add_image, program


def test_every_rule_has_a_check_a_test_and_its_words():
    rules = load_rules()
    assert set(rules) == set(CHECKS) == {fault.rule for fault in FAULTS.values()}
    assert list(rules) == sorted(rules)
    for rule in rules.values():
        assert all((rule.title, rule.looks_at, rule.why, rule.sources, rule.cure)), rule.id


def test_a_clean_image_has_no_findings(tmp_path: Path):
    report = audit_image(plant(tmp_path), TAG)
    assert report.findings == []
    assert [one.platform for one in report.images] == ["linux/amd64"]
    assert set(report.counts.values()) == {0}


@pytest.mark.parametrize("name", FAULTS)
def test_one_fault_is_found_by_one_rule(tmp_path: Path, name: str):
    fault = FAULTS[name]
    report = audit_image(plant(tmp_path, fault), fault.tag)
    assert [one.rule for one in report.findings] == [fault.rule], report.findings
    (finding,) = report.findings
    assert finding.path == fault.path
    if fault.layer is not None:
        assert finding.layer == fault.layer
    elif fault.app:
        # Rules about a line of a file know it without its layer.
        assert finding.layer == 2 or finding.rule in (
            "EC-IMG-003", "EC-IMG-004", "EC-IMG-006", "EC-IMG-018",
        )  # fmt: skip


def test_ports_below_1024_need_a_privilege(tmp_path: Path):
    ports = Fault("", config={"ExposedPorts": {"1023/tcp": {}, "1024/tcp": {}}})
    report = audit_image(plant(tmp_path, ports), TAG)
    assert {one.rule: one.message.split(" is ")[0] for one in report.findings} == {
        "EC-IMG-041": "port 1023/tcp",
        "EC-IMG-040": "port 1024/tcp",
    }


def test_many_faults_are_all_found_and_sorted(tmp_path: Path):
    apart = ("foreign layer", "encrypted layer", "no labels", "only latest")
    faults = {name: fault for name, fault in FAULTS.items() if name not in apart}
    layout = plant(tmp_path, *(fault for name, fault in faults.items() if "root" not in name))
    report = audit_image(layout, TAG)
    assert len({one.rule for one in report.findings}) >= 45
    ranks = [one.severity.rank for one in report.findings]
    assert ranks == sorted(ranks)
    assert audit_image(layout, TAG) == report


def test_secrets_never_appear_in_a_report(tmp_path: Path):
    names = ("private key", "cloud key", "token in compiled code", "env file", "random value",
             "password in an address", "token in the environment", "secret in a label",
             "password in the environment", "build argument", "removed secret")  # fmt: skip
    report = audit_image(plant(tmp_path, *(FAULTS[name] for name in names)), TAG)
    text = repr(report)
    assert len(report.findings) >= len(names)
    for value in (PRIVATE_KEY[40:80], AWS_KEY, GITHUB_TOKEN, RANDOM, "s3cr3t98"):
        assert value not in text


def test_the_line_of_a_secret_is_told(tmp_path: Path):
    text = b"# settings\n\nid = " + AWS_KEY.encode() + b"\n"
    report = audit_image(plant(tmp_path, Fault("", app=[Item("srv/a.ini", text)])), TAG)
    assert [(one.rule, one.line) for one in report.findings] == [("EC-IMG-031", 3)]


def test_key_ids_of_temporary_credentials_are_found_too(tmp_path: Path):
    text = f"id = {AWS_KEY.replace('AKIA', 'ASIA')}\n"
    report = audit_image(plant(tmp_path, Fault("", app=[Item("srv/a.ini", text.encode())])), TAG)
    assert [one.rule for one in report.findings] == ["EC-IMG-031"]


@pytest.mark.parametrize(
    ("form", "random", "even"),
    [
        ("id = AKIA{}", AWS_KEY.removeprefix("AKIA"), "QQZZ" * 4),
        ("api_key = '{}'", RANDOM, "ab12" * 5),
    ],
    ids=["key id of AWS", "value beside a keyword"],
)
def test_a_value_of_low_entropy_is_no_secret(tmp_path: Path, form: str, random: str, even: str):
    for value, findings in ((random, 1), (even, 0)):
        item = Item("srv/a.ini", form.format(value).encode())
        report = audit_image(plant(tmp_path / value, Fault("", app=[item])), TAG)
        assert len(report.findings) == findings, report.findings


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("srv/readme.md", "export AWS_ACCESS_KEY_ID=AKIAIOSFODNN7EXAMPLE"),
        ("srv/a.py", "password = os.environ['PASSWORD']; token = get_token_from_vault_1()"),
        ("srv/a.py", "url = f'https://{user}:{password}@{host}/'"),
        ("srv/a.yaml", "password: changeme\napi_key: <your key 1234567890abcdef>\n"),
        ("srv/a.yaml", "secret_key: ${SECRET_KEY_0123456789abcd}\npassword_file: /run/secrets/p1"),
        ("srv/.env", "DB_PASSWORD=\nAPI_TOKEN=${TOKEN}\nSECRET=changeme\n"),
        ("srv/train.env", "TOKENIZER=bert-base\nMAX_TOKENS=4096\nTOKEN=1234567\n"),
        ("srv/.env", "PASSWORD_FILE=/run/secrets/password\n"),
        ("srv/.npmrc", "//registry.example.com/:_authToken=${NPM_TOKEN}\n"),
        ("srv/ca.pem", "-----BEGIN CERTIFICATE-----\nMIIDdzCCAl+gAwIBAgIEAgAAuTANBgkqhkiG9w0B\n"),
        ("srv/hash.txt", "sha256:" + "0123456789abcdef" * 4),
        ("srv/vocab.json", '{"password": 1, "token_key_secret_12345678": 2}'),
        ("usr/lib/python3/dist-packages/m/a.py", "api_key = 'q7RzK2mVb8xNc4Lp9sYd'"),
        ("usr/lib/python3/dist-packages/m/a.py", "'redis://me:s3cr3t98@cache:6379/0'"),
        (".docker/config.json", '{"auths": {"registry.example.com": {}}, "credsStore": "x"}'),
    ],
)
def test_what_only_looks_like_a_secret(tmp_path: Path, path: str, text: str):
    report = audit_image(plant(tmp_path, Fault("", app=[Item(path, text.encode())])), TAG)
    assert report.findings == []


def test_test_data_of_packages_is_ignored_with_a_reason(tmp_path: Path):
    path = "usr/lib/python3/dist-packages/trustme/tests/data/server.pem"
    fault = Fault("", app=[Item(path, PRIVATE_KEY.encode())])
    (image,) = audit_image(plant(tmp_path, fault), TAG).images
    assert image.findings == ()
    assert [(one.finding.path, one.reason) for one in image.ignored] == [
        (path, "test data or an example of an installed Python package")
    ]


def test_rules_can_be_waived_with_a_reason(tmp_path: Path):
    layout = plant(tmp_path, FAULTS["shell"], FAULTS["curl"])
    report = audit_image(layout, TAG, waivers=[Waiver("EC-IMG-020", "needed by the vendor")])
    assert [one.rule for one in report.findings] == ["EC-IMG-029"]
    assert [(one.finding.rule, one.reason) for one in report.images[0].ignored] == [
        ("EC-IMG-020", "needed by the vendor")
    ]
    with pytest.raises(UsageError, match="did you mean 'EC-IMG-020'"):
        audit_image(layout, TAG, waivers=[Waiver("EC-IMG-O20")])


def test_severities_are_compared(tmp_path: Path):
    report = audit_image(plant(tmp_path, FAULTS["shell"], FAULTS["waste"]), TAG)
    assert [one.rule for one in report.at_least(Severity.LOW)] == ["EC-IMG-020"]
    assert len(report.at_least(Severity.INFO)) == 2
    assert report.at_least(Severity.HIGH) == []


def two_platforms(path: Path) -> Layout:
    layout = plant(path)
    clean = layout.resolve(TAG)
    shell = add_image(layout, [[program("bin/sh")]], tag="", architecture="arm64")
    platforms = [
        Platform(os="linux", architecture="amd64"),
        Platform(os="linux", architecture="arm64", variant="v8"),
    ]
    listed = [
        type(one)(media_type=one.media_type, digest=one.digest, size=one.size, platform=platform)
        for one, platform in zip((clean, shell), platforms, strict=True)
    ]
    layout.write_manifest(encode(ImageIndex(manifests=tuple(listed))), INDEX, ["v2.0.0"])
    return layout


def test_all_platforms_of_an_index_are_audited(tmp_path: Path):
    layout = two_platforms(tmp_path)
    report = audit_image(layout, "v2.0.0")
    assert [one.platform for one in report.images] == ["linux/amd64", "linux/arm64/v8"]
    assert report.images[0].findings == ()
    assert {"EC-IMG-001", "EC-IMG-020"} <= {one.rule for one in report.images[1].findings}
    (only,) = audit_image(layout, "v2.0.0", "linux/amd64").images
    assert only.platform == "linux/amd64"
    with pytest.raises(ImageNotFound, match="it is for linux/amd64, linux/arm64/v8"):
        audit_image(layout, "v2.0.0", "linux/s390x")


def test_a_moving_tag_beside_a_fixed_one_is_fine(tmp_path: Path):
    layout = plant(tmp_path)
    image = layout.resolve(TAG)
    layout.write_manifest(layout.read_manifest(digest_of(image)), image.media_type, ["latest"])
    assert audit_image(layout, "latest").findings == []
    assert audit_image(layout, image.digest).findings == []


def test_cosign_signatures_count(tmp_path: Path):
    layout = plant(tmp_path, FAULTS["not signed"])
    image = layout.resolve(TAG)
    add_image(layout, [], tag=f"sha256-{image.digest[7:]}.sig")
    assert audit_image(layout, TAG).findings == []


def test_configurations_of_docker_with_nulls_are_read(tmp_path: Path):
    nulls = {"Cmd": None, "Volumes": None, "OnBuild": None, "Labels": None, "Entrypoint": None}
    layout = Layout(tmp_path, create=True)
    add_image(layout, [[Item("a")]], config=nulls, tag=TAG, history=[{"comment": None}])
    assert "EC-IMG-001" in {one.rule for one in audit_image(layout, TAG).findings}


def test_a_damaged_image_is_no_finding_but_an_error(tmp_path: Path):
    layout = Layout(tmp_path, create=True)
    add_image(layout, [b"no tar at all" * 100], tag=TAG, compression="tar")
    with pytest.raises(ImageInvalid, match="layer 1"):
        audit_image(layout, TAG)
