"""A forecast of what each backend refuses of a model, from documents and trials, as data.

`support` is the entry: `enginecrate inspect` shows its obstacles. The rules are data beside it.
"""
