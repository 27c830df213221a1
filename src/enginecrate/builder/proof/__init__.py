"""The proof of each plan: golden samples, agreement with FP32, and its times on this machine.

`examination` puts them together for every plan of a build. The report shows it, and calibration on
site and conformance judge by it.
"""
