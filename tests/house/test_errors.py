import inspect
from typing import get_args

from enginecrate import errors
from enginecrate.errors import EnginecrateError, Kind, nearest

CLASSES = [
    item
    for item in vars(errors).values()
    if inspect.isclass(item) and issubclass(item, EnginecrateError)
]


def test_codes_are_unique_and_kinds_are_known():
    codes = [cls.code for cls in CLASSES]
    assert len(set(codes)) == len(codes)
    assert {cls.kind for cls in CLASSES} <= set(get_args(Kind))


def test_the_drawn_tree_is_the_real_tree():
    drawn = errors.__doc__ or ""
    for cls in CLASSES[1:]:
        assert any(cls.__name__ in line and cls.code in line for line in drawn.splitlines()), cls


def test_nearest():
    assert nearest("vesion", ["version", "vendor"]) == "; did you mean 'version'?"
    assert nearest("zzz", ["version"]) == ""
