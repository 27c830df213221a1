"""Golden samples: inputs with the results that prove an app right.

`samples` reads and checks them, `record` writes new ones, `tolerance` compares two results.
Accuracy, proof and the server's readiness use them; `file` is for this room alone.
"""
