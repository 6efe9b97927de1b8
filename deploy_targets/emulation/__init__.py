"""ARM64 without a board: a bundle's probe images through the device side under QEMU.

Whether the answers are right can be seen this way, and nothing else: what takes how long under
emulation says nothing about a device, so no time is taken, kept or shown.

The device side runs as it would there: Python and numpy of a Debian arm64 userland, the
runtime's own aarch64 wheel, and a processor whose instruction sets are the target's.
"""

from deploy_targets.emulation.answers import Emulated, emulate

__all__ = ["Emulated", "emulate"]
