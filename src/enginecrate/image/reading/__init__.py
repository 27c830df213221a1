"""Images read back: the files that are really in there."""
