"""OCI images: what goes in, how they are written, where they lie, and what they must be."""
