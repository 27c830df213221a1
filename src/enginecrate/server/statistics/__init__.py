"""Statistics: pages of counters, one for each process of the server, and their sums.

It knows neither HTTP nor models nor engines. The rest of the server uses it.
"""
