"""The load test of a server: connections, the closed loop, latencies, the result.

Only `cli` uses it; it knows HTTP, and nothing of engines or models.
"""
