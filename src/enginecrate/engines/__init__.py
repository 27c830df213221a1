"""Backends build plans; engines are plans that are loaded and ready to run."""
