"""A process of its own, with limits, for work on models that foreign people made.

`isolated` runs a function there; `child_main` is the process. Everybody in `graph` may use it.
"""
