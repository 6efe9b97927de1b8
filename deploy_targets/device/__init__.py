"""What runs on the device: Python, numpy, `foundation` and one inference runtime, no more."""
