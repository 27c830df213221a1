"""Memory for what clients send and engines answer: arenas, their slots, and leases of them.

It knows neither HTTP nor models. The rest of the server uses it.
"""
