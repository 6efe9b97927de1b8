"""Bundles timed on a host, alone or in turns: from what its processes send to a record."""
