"""The image's own Python: unpacked on this machine, it compiles the bytecode of the image.

`recipe/package_layers` uses both. `bytecode_worker.py` runs in that Python, without enginecrate.
"""
