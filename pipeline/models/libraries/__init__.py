"""Whole libraries of models. A new one is a new file here that registers a `Library`."""
