"""Boot."""
