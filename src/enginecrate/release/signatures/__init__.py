"""Signatures in both formats of cosign: made, read, judged, and compared with the release manifest.

`create` signs and `verify` judges; nothing here opens a layer.
"""
