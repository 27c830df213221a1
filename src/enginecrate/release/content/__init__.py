"""The content of an image: its platforms, files, plans and packages, read through one cache.

`create` describes it, `boot` starts it, and `verify` compares it with the release manifest.
"""
