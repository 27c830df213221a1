"""The formats below everything else: OCI documents as types, and tar streams.

Every room of `image` may read them, and they read no other room.
"""
