"""The report of a build: `report.json` for programs, `report.html` for people, and the verdict.

`report` defines the JSON, `contents` fills it, `page` draws it with tables and pictures. `run` and
`enginecrate build` use it; `enginecrate release` reads the JSON.
"""
