"""The study: what stages, reference and weighting are worth, against the methods by themselves."""
