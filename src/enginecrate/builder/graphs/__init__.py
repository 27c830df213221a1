"""Typed graphs: the model simplified, then cast or quantised, and gated.

`graph_inputs` holds what all graphs of a build share, `typed_graphs` obtains one of them as a
`GraphResult`. Plans, proof and ladder use these; cache, key and precisions are for this room alone.
"""
