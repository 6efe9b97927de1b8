"""Weights in files: our own, and other people's, read without running code."""
