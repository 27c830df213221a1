"""A start of an image in podman or docker: its requirements, the container, the way into it.

`create` measures the start for the evidence, and `verify` proves that the image becomes ready.
"""
