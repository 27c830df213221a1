"""The inference server.

`app` puts everything together, `routes` lists every path, `logs` sets up the log. The rooms are
`http` (connections, messages), `api` (handlers), `inference_protocol` (v2 without HTTP), `model`
(the served model) and `scheduling` (queue, batches, engines). Only `cli` imports the server.
"""
