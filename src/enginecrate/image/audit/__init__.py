"""The audit: demands on hardened images, and the report on one image.

`audit.audit_image` applies the `rules/` to every platform; the command line and `release.verify`
call it. `recipe` uses the same scanner for secrets.
"""
