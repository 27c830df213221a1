"""Descriptions of a model: its facts, its cost by batch, and the precision of each layer.

Cast and quantize read the layers, the build's report the facts, `graph/description` all of it. What
a model is for is read from its ends: `heads`, `stem` and `metadata` are for those who guess it.
"""
