"""Work on models that foreign people made, in an isolated process with limits.

`isolated` runs a function there. Everybody in `graph` may use it.
"""
