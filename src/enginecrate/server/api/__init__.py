"""The handlers of the routes: predictions, Open Inference Protocol, status, metrics, pages.

Only `server/routes.py` uses them; it says which path leads to which handler.
"""
