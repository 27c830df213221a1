"""The inference server.

`app` puts everything together, and `routes` lists every path. The rooms are `http` (connections,
messages), `api` (handlers), `inference_protocol` (v2 without HTTP), `model` (the served model),
`scheduling` (queue, batches, engines) and `logs`. Only `cli` imports the server.
"""
