"""New projects: from a sample or template, or around a vendor's own model.

`scaffold` copies, `from_model` has a set-up guessed (`guess/`) and writes a manifest. `enginecrate
init` uses both; the other modules are for this room alone.
"""
