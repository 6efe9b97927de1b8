"""The sections of a recipe, a file each, and the recipe of them all; none is read unasked."""
