"""Writes the package of a new plugin from templates that lie in this folder."""
