"""Rewrites a downloaded export once into the graph that runs best on this kind of machine."""

from shammah.loader.prepare.recipe import RECIPE, Report, prepare, prepared_name, source_digest

__all__ = ["RECIPE", "Report", "prepare", "prepared_name", "source_digest"]
