"""Documents that are attached to an image: SBOMs, provenance, evidence, VEX.

They are made and decoded here, and not signed. `create` makes them; everything above reads them.
"""
