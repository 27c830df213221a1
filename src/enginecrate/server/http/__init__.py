"""HTTP: connections, messages, the router, worker threads, and errors as answers.

Nothing here knows a path or a model. The rest of the server uses it.
"""
