"""What goes into an image: pure decisions from manifest, lock and plans."""
