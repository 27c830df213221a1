"""The commands about releases: `release`, `keys` and `verify`; one file for each.

They parse, call one function of `enginecrate.release`, and print. `cli.commands` adds them.
"""
