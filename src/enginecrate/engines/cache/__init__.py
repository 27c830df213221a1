"""The caches of plans and of what builders learnt about timing."""
