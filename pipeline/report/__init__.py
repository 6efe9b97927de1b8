"""The report: what a model's speed cost in accuracy, for people."""
