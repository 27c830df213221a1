"""Pre- and post-processing around an engine."""
