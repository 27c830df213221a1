"""The check of a manifest against everything that it names.

`builder.check.manifest.check_manifest` is its front door.
"""
