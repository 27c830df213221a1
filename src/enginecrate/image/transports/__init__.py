"""Transports of images: registries, OCI layouts on disk, single files, and copying between them.

`base` is their interface, `reference` opens what people write; the rest of the program needs these
and the copying modules. `registry/` speaks to registries.
"""
