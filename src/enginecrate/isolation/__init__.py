"""A process of its own, with limits, for work on what foreign people made: models, photos.

`process` starts it and calls functions in it; `child_main` is the process.
"""
