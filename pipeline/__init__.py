"""The whole road: recipes, data, models, run folders, reports, gates and the command line."""
