"""Parts that verbs share: options, secrets, exit codes, output, results.

The other rooms of the command line use them; they know no verb.
"""
