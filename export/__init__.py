"""From a trained torch classifier to verified bundles that a device can run.

The way through the room: `requests` says what is asked for, `graphs` writes the model as FP32
ONNX, a format of `formats/` makes its own files of that in the wanted precision, `checking` holds
the result against torch, and `bundling` puts all of it into a folder that `foundation.bundle` can
open. A new export format is a new file in `formats/`.
"""
