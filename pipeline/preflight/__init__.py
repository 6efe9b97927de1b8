"""What is asked before any work begins: are all names known, may the code that is named run."""
