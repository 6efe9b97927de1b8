"""What each command does: one file for each, called by `pipeline.cli`, which only reads options."""
