"""The machine that this process runs on: GPUs, libraries, mounts, containers, and the rest.

Probing alone: nothing is raised for what is missing, and nothing is judged. The doctor judges it;
`server`, `builder` and `cli` ask it for single facts.
"""
