"""The steps of the road, one a file. Each reads and writes the run folder alone."""
