"""What every room of the house agrees on: errors, registries, files and the bundle contract.

Nothing here knows torch, a runtime or the command line, so every room, and the
device side too, can stand on it.
"""

from foundation.logs import PACKAGES, keep_quiet
from foundation.telemetry import switch_off

# Every package of ours imports this one before it imports any other library.
switch_off()
for _package in PACKAGES:
    keep_quiet(_package)
