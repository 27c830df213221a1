"""Keys that sign releases: the keys themselves, their files, and the trust file.

They know nothing of images. `signatures`, `create` and `verify` use them, and the commands.
"""
