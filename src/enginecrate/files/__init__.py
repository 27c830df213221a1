"""Files that appear whole or not at all, locks over processes, folders of cached things."""
