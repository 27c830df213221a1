"""Backends build plans; engines are plans that are loaded and ready to run.

Inside: the two interfaces (`base`), `onnxruntime/`, `tensorrt/`, the cache of plans, a fake engine.
`builder` and `server` use it; `engines` and `pipelines` ignore each other.
"""
