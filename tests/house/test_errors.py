import re
from pathlib import Path
from typing import get_args

from enginecrate.errors import EnginecrateError, Kind, error_classes, nearest

PAGE = Path(__file__).parents[2] / "docs" / "errors.md"
CLASSES = error_classes()


def test_codes_are_unique_and_kinds_are_known():
    codes = [cls.code for cls in CLASSES]
    assert len(set(codes)) == len(codes)
    assert {cls.kind for cls in CLASSES} <= set(get_args(Kind))


def test_the_drawn_tree_is_the_real_tree():
    drawn: dict[str, tuple[str, str]] = {}
    parents: list[str] = []
    _, tree, _ = PAGE.read_text(encoding="utf-8").split("```\n")
    for indent, name, code in re.findall(r"(?m)^(.*?)(\w+) +(EC\d+)$", tree):
        depth = len(indent) // 4
        drawn[name] = (code, parents[depth - 1] if depth else "Exception")
        parents[depth:] = [name]
    assert drawn == {cls.__name__: (cls.code, cls.__base__.__name__) for cls in CLASSES}


def test_the_groups_stand_in_the_order_of_their_codes():
    groups = [cls.code for cls in CLASSES if cls.__base__ is EnginecrateError]
    assert groups == sorted(groups)


def test_the_classes_stand_in_the_order_of_their_codes():
    codes = [cls.code for cls in CLASSES]
    assert codes == sorted(codes)


def test_nearest():
    assert nearest("vesion", ["version", "vendor"]) == "; did you mean 'version'?"
    assert nearest("zzz", ["version"]) == ""
