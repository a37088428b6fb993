"""Rewrites a downloaded export once into the graph that runs best on this kind of machine; `recipe.prepare` does it."""
