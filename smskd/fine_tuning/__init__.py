"""A network that others have trained is taught new classes: its head first, then all of it."""
