"""FP16 and BF16: nodes are chosen and rewritten, and sensitive ones stay in FP32.

`cast` is the entry for builder and engines; `overflow` names the nodes that leave FP16's range.
"""
