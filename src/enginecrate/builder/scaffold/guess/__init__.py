"""The set-up of a vendor's own model, guessed from its graph, its metadata and two runs.

`guess_setup` is the entrance. Every guess has its reason and says how sure it is.
"""
