"""Packages as contents of layers: .deb files, wheels, our own package, and the lists of them.

`recipe/` puts them into layers. Each package is compared with its locked checksum, and the rules in
`data/leave_out.toml` say which of its files stay out.
"""
