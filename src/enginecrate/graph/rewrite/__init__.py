"""Exact rewrites: simplification, folding of constants, removal, and newer opsets.

`simplify` is the entry for builder and commands; cast and quantize use opset and tidy.
"""
