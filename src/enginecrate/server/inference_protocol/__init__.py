"""Inference protocol."""
