"""Accuracy under a limit: what is tried, in which order, and what it costs."""
