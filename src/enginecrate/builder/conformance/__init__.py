"""Conformance: every backend of this machine computes what it should, on tiny models and on plans.

`run` tries the models, `project_plans` a project's own plans. `enginecrate conformance` uses both.
"""
