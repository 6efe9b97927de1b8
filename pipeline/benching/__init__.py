"""Bundles measured on a host, alone or in turns with others, and their costs on paper."""
