"""The served model: its state, its loaded engines, its way up the engine ladder, predictions.

`api`, `routes` and `app` use it.
"""
