"""The manifest `enginecrate.toml`: its schema, loading, and every fault found at once.

Every package that reads a project uses it; it imports none of them.
"""

from enginecrate.manifest.loading import (
    MANIFEST_NAME,
    Draft,
    LocatedFault,
    ManifestFile,
    check_files,
    faulty_manifest,
    load_manifest,
    locate,
    missing_files,
    named_files,
    parse_manifest,
    read_draft,
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
    "Draft",
    "Image",
    "Listing",
    "LocatedFault",
    "Manifest",
    "ManifestFile",
    "Model",
    "PrecisionSection",
    "Serve",
    "Targets",
    "check_files",
    "faulty_manifest",
    "json_schema",
    "load_manifest",
    "locate",
    "missing_files",
    "named_files",
    "parse_manifest",
    "read_draft",
]
