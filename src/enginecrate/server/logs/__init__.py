"""Logs: the logging configuration, the log files, and the lines that the server writes.

`configuration` is for the entry point, `events` and `request_log` are for the whole server.
"""
