"""From a student to bundles, and from bundles to the one that ships."""
