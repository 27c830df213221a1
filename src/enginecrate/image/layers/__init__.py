"""Layers: deterministic compressed tar archives of files, folders and links.

`entries` names the parts; `packages/` and `python/` bring the contents. `recipe/` says which
contents go into which layer, and `assemble` has them written.
"""
