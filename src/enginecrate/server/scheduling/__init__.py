"""Scheduling: the queue, dynamic batching, engine instances, and their statistics.

It knows engines, and neither HTTP nor models. `model` and `api` use it.
"""
