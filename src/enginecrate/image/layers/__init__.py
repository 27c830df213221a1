"""Layers: files from packages, wheels and folders as deterministic compressed tar archives."""
