"""Decoding of photos for requests: cheap ones in threads, costly ones in a process of their own.

`decoding` decides which; `decoder_process` is the process as we see it, `decoder_work` its work.
"""
