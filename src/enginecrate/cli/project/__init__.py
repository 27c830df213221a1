"""The verbs of a project: init, manifest, inspect, golden, calibrate, build, conformance.

`commands` puts them on the command line; nothing else uses them.
"""
