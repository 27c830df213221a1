"""The engine ladder: the engines that may serve on a machine, best first, found or built there.

`rungs` has the rules, `steps` finds or builds each plan, `child_process` builds beside a server.
The server climbs it; `predictor` takes the best step for one-off predictions.
"""
