"""The recipe of an image: pure decisions from manifest, lock and plans.

Its layers, configuration, tags and annotations. `image_plan` and `requests` put them together.
"""
