"""The command line: one thin file for each verb, in rooms as `--help` groups them.

`main` is the program, `commands` lists the verbs, `entrypoint` is the program inside an image, and
`shared` has what verbs have in common. No other package imports the command line.
"""
