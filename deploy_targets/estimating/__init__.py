"""What a device that nobody asked may take: a roofline, calibrated; never a measurement."""
