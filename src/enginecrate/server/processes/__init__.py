"""The processes of a server with front ends: supervisor, engine process, front ends.

The supervisor owns the listening sockets and starts the others. A front end speaks HTTP; the
engine process owns the device and its queue. They talk over channels; tensors lie in arenas. A
message is the only publication: bytes are written before it is sent and read after it has
arrived, and nothing in shared memory is ever polled. Only `server/app.py` uses this package.
"""
