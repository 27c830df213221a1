"""A client for registries: OCI Distribution Specification 1.1."""

from enginecrate.image.registry.options import RegistryOptions
from enginecrate.image.registry.repository import Repository
from enginecrate.image.registry.retries import Retry

__all__ = ["RegistryOptions", "Repository", "Retry"]
