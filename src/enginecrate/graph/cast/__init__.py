"""Cast."""
