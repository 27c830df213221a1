"""Options that verbs share: groups, options that exclude each other, lists of words."""

import inspect
from pathlib import Path

import pytest
import typer

from enginecrate.cli.shared.options import (
    Json,
    RegistryAccess,
    SettingsSources,
    refuse_together,
    split_words,
    with_groups,
)
from enginecrate.errors import UsageError


def test_a_verb_gets_its_groups_from_the_command_line():
    received = []

    @with_groups
    def show(
        name: str, *, sources: SettingsSources, registry: RegistryAccess, as_json: Json = False
    ) -> None:
        received.append((name, sources, registry, as_json))

    app = typer.Typer()
    app.command()(show)
    words = ["ref", "--insecure", "--cache-dir", "plans", "--ca-file", "ca.pem", "--json"]
    typer.main.get_command(app).main(args=words, standalone_mode=False)
    typer.main.get_command(app).main(args=["ref"], standalone_mode=False)

    assert received == [
        ("ref", SettingsSources(None, "plans"), RegistryAccess(Path("ca.pem"), True), True),
        ("ref", SettingsSources(), RegistryAccess(), False),
    ]


def test_the_options_of_a_group_stand_where_the_group_stood():
    @with_groups
    def show(name: str, *, registry: RegistryAccess, as_json: Json = False) -> None:
        """Help."""

    assert list(inspect.signature(show).parameters) == ["name", "ca_file", "insecure", "as_json"]
    assert (show.__name__, show.__doc__) == ("show", "Help.")


def test_options_that_exclude_each_other():
    refuse_together({"--check": False, "--upgrade": True, "--vendor": None})
    with pytest.raises(UsageError, match="--check and --upgrade exclude each other"):
        refuse_together({"--check": True, "--upgrade": True, "--vendor": None})


def test_words_are_repeated_or_have_commas_between_them():
    assert split_words(["T4,L4", " A10 ", ","]) == ["T4", "L4", "A10"]
    assert split_words(None) == []
