"""The verification of an image: one file for each group of rows, and the report.

`verification.verify_image` is the entrance; `enginecrate verify` and programs call it.
"""
