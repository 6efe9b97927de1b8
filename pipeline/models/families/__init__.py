"""The models themselves. A new family is a new file here that registers its factories."""
