"""OCI images: what goes in, how they are written, where they lie, and what they must be.

Inside: `resolve`, `recipe`, `layers` make an image; `transports` move it; `reading`, `audit`,
`sbom` look at it. Plans come as files, so images are made without a GPU.
`release` and `cli` use it.
"""
