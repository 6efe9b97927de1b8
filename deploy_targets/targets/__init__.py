"""Device classes, described in data: one TOML file each, ours in `profiles/` beside this package,
a user's in a folder of theirs, or anywhere else by its path.

`profile` is the record, `loading` finds and reads it, `detection` looks at this machine, and
`cores.toml` says what a core can do at most.
"""

from deploy_targets.targets.detection import detected_quantization
from deploy_targets.targets.loading import (
    is_shipped,
    load_target,
    own_folder,
    read_target,
    shipped_names,
    target_names,
    write_target,
)
from deploy_targets.targets.profile import Quantization, Target, TargetRuntime

__all__ = [
    "Quantization", "Target", "TargetRuntime", "detected_quantization", "is_shipped",
    "load_target", "own_folder", "read_target", "shipped_names", "target_names", "write_target",
]  # fmt: skip
