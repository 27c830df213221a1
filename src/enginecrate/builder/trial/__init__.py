"""The trial run: an app is run on photos that ship with the program, and its answers are looked at.

`trial` is the one entrance: `init`, `build` and the server use it.
"""
