"""One adapter for TensorRT 8.6, 10 and 11, and for TensorRT-RTX.

It takes the imported library as an argument; `capabilities` says what each version can do. Plans
are built in a process of their own (`child`, `worker`). `engines/backends.py` names both backends.
"""
