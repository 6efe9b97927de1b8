"""The recipe: the whole road in one TOML file, and the code that it may name."""
