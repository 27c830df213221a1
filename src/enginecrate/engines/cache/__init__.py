"""Caches on disk: plans with their sidecars, and timing caches of builders.

A plan is kept under a key of everything that shapes it, and is checked before it is loaded.
`builder` and `server` use it through `PlanStore`.
"""
