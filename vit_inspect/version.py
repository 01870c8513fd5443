"""The one version number; `pyproject.toml` reads it too."""

__version__ = "0.2.0"
