"""A client for registries: OCI Distribution Specification 1.1."""

from enginecrate.image.transports.registry.options import RegistryOptions
from enginecrate.image.transports.registry.repository import Repository
from enginecrate.image.transports.registry.retries import Retry

__all__ = ["RegistryOptions", "Repository", "Retry"]
