"""The folder that holds all that a run makes: its layout, its records, who may write in it."""
