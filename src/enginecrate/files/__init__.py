"""Files that appear whole or not at all, locks over processes, folders of cached things.

Inside: the one atomic writer, the one lock, private folders, eviction by size, the folder store.
Every package may use it; no other file locks files.
"""
