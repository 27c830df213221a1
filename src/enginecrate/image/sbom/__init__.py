"""The software bill of materials of an image, in CycloneDX and SPDX.

`collect.make_sbom` reads the image's own files; `release.documents` renders and attaches the bill.
"""
