"""Decoders: each reads the outputs of one family of detection models as candidate boxes.

`registry` creates one by its name, for the detection pipeline and for guesses; `base` is the
interface. The modules of a family are for this room alone.
"""
