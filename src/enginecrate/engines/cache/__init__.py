"""Caches on disk: plans, and timing caches of builders."""
