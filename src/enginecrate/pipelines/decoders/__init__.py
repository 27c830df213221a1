"""Decoders: each reads the outputs of one family of detection models as candidate boxes."""
