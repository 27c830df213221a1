"""New projects: from a sample or template, or around a vendor's own model.

`scaffold` copies, `from_model` guesses a pipeline and writes a manifest. `enginecrate init` uses
both; the other modules are for this room alone.
"""
