"""Where images lie: registries, OCI layouts, single files; copying between them."""
