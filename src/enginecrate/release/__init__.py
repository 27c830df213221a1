"""Releases: the signed manifest, statements, evidence, and the verification of all of it."""
