"""A client for registries: OCI Distribution Specification 1.1.

`Repository` is the transport; the other modules are its own parts, from requests down to TLS. The
rest of the program uses the three names below.
"""

from enginecrate.image.transports.registry.options import RegistryOptions
from enginecrate.image.transports.registry.repository import Repository
from enginecrate.image.transports.registry.retries import Retry

__all__ = ["RegistryOptions", "Repository", "Retry"]
