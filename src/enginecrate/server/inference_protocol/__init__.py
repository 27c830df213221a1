"""The Open Inference Protocol v2 without HTTP: from bytes to tensors, and back.

Requests and answers in JSON and in binary. `api` and `model` use it.
"""
