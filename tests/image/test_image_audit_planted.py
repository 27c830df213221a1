"""Kinds of faults that audits have missed: each is found once, and no twin of one is reported."""

from collections import Counter
from pathlib import Path

import pytest

from enginecrate.errors import ImageInvalid
from enginecrate.image.audit.audit import audit_image
from enginecrate.image.audit.rules.checksums import CHECKSUMS
from enginecrate.image.audit.rules.redaction import redact, redact_cut
from enginecrate.image.audit.rules.secret_scanner import load_scanner
from enginecrate.image.audit.rules.tokens import TokenForm, load_tokens
from enginecrate.image.transports.layout import Layout
from image_faults import GITHUB_TOKEN, TAG, Fault, plant
from image_plants import HUB_TOKEN, MISSED_TOKEN, PASSWORD, SETTINGS, SHORT_TOKEN, plants
from layered_images import Item, add_image

TOKENS = {form.id: form for form in load_tokens()}


def test_each_planted_file_is_found_by_one_rule_at_its_path(tmp_path: Path):
    items = [item for one in plants() for item in one.items]
    base = [item for one in plants() for item in one.base]
    report = audit_image(plant(tmp_path, Fault("", app=items, base=base)), TAG)
    found = Counter((one.rule, one.path) for one in report.findings)
    wanted = Counter((one.rule, one.path) for one in plants())
    assert found == wanted
    assert all(one.ignored == () for one in report.images)


def test_a_wrong_checksum_excuses_a_file_and_no_command():
    """Files hold samples of others; the configuration and names are written for this image."""
    scanner = load_scanner()
    assert scanner.search_file("srv/a", MISSED_TOKEN.encode()) == []
    for found in (
        scanner.search_text(MISSED_TOKEN),
        scanner.search_name(MISSED_TOKEN),
        scanner.search_file("srv/a", MISSED_TOKEN.encode(), proven=False),
    ):
        assert [one.kind for one in found] == ["github"]


def test_no_twin_of_a_planted_file_is_reported(tmp_path: Path):
    unique = {item.path: item for one in plants() for item in one.twin}
    base = [item for one in plants() for item in one.base if item.path.endswith(SHORT_TOKEN)]
    report = audit_image(plant(tmp_path, Fault("", app=[*unique.values()], base=base)), TAG)
    # A link that leads nowhere has a rule of its own, which is not about secrets.
    assert [one for one in report.findings if one.rule != "EC-IMG-017"] == []
    assert {one.finding.path for one in report.images[0].ignored} == {
        "usr/share/doc/demo/examples/server.key"
    }


@pytest.mark.parametrize("name", SETTINGS)
def test_a_planted_setting_is_found_by_one_rule_and_its_twin_by_none(tmp_path: Path, name: str):
    setting = SETTINGS[name]
    report = audit_image(plant(tmp_path / "a", setting.as_fault(harmless=False)), TAG)
    assert [one.rule for one in report.findings] == [setting.rule], report.findings
    for secret in (GITHUB_TOKEN, HUB_TOKEN, PASSWORD):
        assert secret not in repr(report)
    twin = audit_image(plant(tmp_path / "b", setting.as_fault(harmless=True)), TAG)
    assert twin.findings == []


def test_there_are_four_of_each_kind():
    counts = Counter(one.kind for one in plants()) + Counter(one.kind for one in SETTINGS.values())
    few = {kind: count for kind, count in counts.items() if count < 3}
    assert set(few) <= {"large texts", "setuid at a hard link"}


@pytest.mark.parametrize("name", TOKENS)
def test_a_token_is_found_and_its_near_miss_is_not(name: str):
    form = TOKENS[name]
    assert form.source.startswith("https://")
    token, miss = "".join(form.example), "".join(form.near_miss)
    for path in ("srv/a.ini", "srv/a.pyc"):
        text = f"x = '{token}'\n".encode() + (b"\0" if path.endswith("pyc") else b"")
        assert [one.kind for one in load_scanner().search_file(path, text)] == [name]
        assert load_scanner().search_file(path, text.replace(token.encode(), miss.encode())) == []
    assert token not in redact(f"a {token} b")
    if not form.checksum and ":" not in miss:
        assert redact(f"a {miss} b") == f"a {miss} b"


def test_more_than_forty_issuers_have_a_form_and_checksums_are_proven():
    assert len(TOKENS) >= 60
    assert {form.checksum for form in load_tokens()} == set(CHECKSUMS)


@pytest.mark.parametrize("form", [one for one in load_tokens() if one.checksum], ids=lambda x: x.id)
def test_a_wrong_checksum_was_never_issued(form: TokenForm):
    token = "".join(form.example).encode()
    assert CHECKSUMS[form.checksum](token)
    for place in (8, len(token) // 2, len(token) - 1):
        other = b"0" if token[place : place + 1] != b"0" else b"1"
        assert not CHECKSUMS[form.checksum](token[:place] + other + token[place + 1 :])


def test_errors_do_not_show_a_secret_either(tmp_path: Path):
    layout = Layout(tmp_path, create=True)
    link = Item("srv/a", type=b"1", target=f"srv/{GITHUB_TOKEN}")
    add_image(layout, [[link]], tag=TAG)
    with pytest.raises(ImageInvalid, match="hard link") as caught:
        audit_image(layout, TAG)
    assert GITHUB_TOKEN not in str(caught.value)
    assert GITHUB_TOKEN[:20] not in redact_cut(f"a path: '{GITHUB_TOKEN[:30]}'...")


def test_what_is_no_secret_is_shown_as_it_is():
    for text in ("usr/lib/python3/dist-packages/hf_transfer/a.py", "git@github.com", "PATH has '.'",
                 "etc/pam.d/common-password", "https://isv.io/a?b=c"):  # fmt: skip
        assert redact(text) == text


def test_one_long_line_of_many_tokens_takes_no_square_of_its_length():
    """Twenty thousand tokens in one line: lines are counted once."""
    line = b" ".join([GITHUB_TOKEN.encode()] * 20_000)
    matches = load_scanner().search_file("srv/a.json", line)
    assert [(one.rule, one.line) for one in matches] == [("EC-IMG-031", 1)]
