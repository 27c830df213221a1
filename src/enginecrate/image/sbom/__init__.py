"""The software bill of materials: what is really in an image, in CycloneDX and SPDX."""
