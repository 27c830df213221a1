"""The project that is built: manifest, model, labels, pipeline, and its photos, found and split.

`project` opens it, `photo_split` decides which photos calibrate and which examine, `overrides`
gives it other targets. All rooms of `builder` read it, and so do server and commands.
"""
