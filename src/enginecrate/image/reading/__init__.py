"""Reading images back: their configuration, and the files that are really in their layers.

`audit`, `sbom`, `facts` and `release.content` read through it; nothing is extracted.
"""
