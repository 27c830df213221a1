"""Pictures with the results drawn on them.

`annotate` is the entry for the server's `?annotate=1`, `enginecrate predict` and the report.
"""
