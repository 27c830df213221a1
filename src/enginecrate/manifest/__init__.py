"""The manifest `enginecrate.toml`: its schema, loading, and every fault found at once.

Every package that reads a project uses it; it imports none of them.
"""

from enginecrate.manifest.loading import (
    MANIFEST_NAME,
    ManifestFile,
    check_files,
    load_manifest,
    parse_manifest,
)
from enginecrate.manifest.schema import (
    Accuracy,
    App,
    Calibration,
    Image,
    Listing,
    Manifest,
    Model,
    PrecisionSection,
    Serve,
    Targets,
    json_schema,
)

__all__ = [
    "MANIFEST_NAME",
    "Accuracy",
    "App",
    "Calibration",
    "Image",
    "Listing",
    "Manifest",
    "ManifestFile",
    "Model",
    "PrecisionSection",
    "Serve",
    "Targets",
    "check_files",
    "json_schema",
    "load_manifest",
    "parse_manifest",
]
