"""The verbs around a server and its machine: serve, predict, bench, doctor, stacks.

`commands` puts them on the command line; nothing else uses them.
"""
