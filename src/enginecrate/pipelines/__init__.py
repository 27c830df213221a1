"""Pre- and post-processing around an engine: four tasks, or the vendor's own class.

`base` is the interface, `loader` creates the pipeline of a manifest, `contract` tests a vendor's
own class. Builder and server use these; they import no engine.
"""
