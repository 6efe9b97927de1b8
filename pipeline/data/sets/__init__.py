"""The datasets themselves. A new one is a new file here that registers its loader."""
