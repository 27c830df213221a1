"""The making of a release: documents, the release manifest, signatures, and VEX that comes later.

The commands of `enginecrate release` are the users; `verify` reads `later_vex` alone.
"""
