"""`python -m pipeline` is `compress`: what torchrun starts."""

from pipeline.cli import main

main()
