"""Plans: one for each target of the manifest, out of the cache or built.

`targets` chooses them, `plan` obtains one, `build_all` makes all of a build side by side. The
ladder uses targets and plan, too; `history` and `plan_fit` tell which plans serve again.
"""
