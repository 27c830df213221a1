"""Rules of the audit: tables in `data/`, and a check for each rule, which yields its breaches.

`checks` lists all of them for `audit`. A check reads one `Subject` and nothing else.
"""
