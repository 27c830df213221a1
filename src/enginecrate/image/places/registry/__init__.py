"""A client for registries: OCI Distribution Specification 1.1."""

from enginecrate.image.places.registry.options import RegistryOptions
from enginecrate.image.places.registry.repository import Repository
from enginecrate.image.places.registry.retries import Retry

__all__ = ["RegistryOptions", "Repository", "Retry"]
