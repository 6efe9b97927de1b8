"""A convolution as a file: from x to y, both 1×1×2×2, padded, with a 3×3 kernel of ones."""

from __future__ import annotations

import base64
import zlib

ONNX = base64.b64decode(
    "CAcSADqWAQoiCgF4CgFrEgF5IgRDb252KhEKBHBhZHNAAUABQAFAAaABBxIBZyozCAEIAQgDCAMQAUIBa0okAACA"
    "PwAAgD8AAIA/AACAPwAAgD8AAIA/AACAPwAAgD8AAIA/WhsKAXgSFgoUCAESEAoCCAEKAggBCgIIAgoCCAJiGwoB"
    "eRIWChQIARIQCgIIAQoCCAEKAggCCgIIAkIECgAQDQ=="
)

# As ExecuTorch 1.5.1 writes it for XNNPACK.
EXECUTORCH = zlib.decompress(
    base64.b64decode(
        "eNqtVT9v00AUf3bcYIKpTIhQhgpFVoaqqpDdxrGDKlGhIlUMTAyVqorGjqtERG7UpgJEK3XgIzAwMjB07MDMZ+jA0A"
        "/RgS9Azbvzs/MSUiiiF/3i89293/3enzuvAMCzl85S1LXtGva3NZDtmJ51elZgDv+r+DTBAB37GvbFCMAA8QFxxqDI"
        "FQCdn0miUn8V4S67Lcdf8pstp9n03KDVCGw3tJfbTrPheI2m64WBFzqh7wZu6C05nusGfjNouu1l33NaO0LL6WWSaL"
        "QHbwXEOsJGGAgd1Rm4s1BbzxZpo/U6+gI0f1YYjWvyN2pinznZewDzyFTDt1EkNBxN+X2KxYBi8B1xjviMBBcYBJVx"
        "bk/wi/2+JUlikPYKzZ3iGPmpzOLfRhwP2uHrp4go7ozsTdkr5ZpKxLNKUPKYGHCHfE5tQNUpnzrpUJkurlFhY2JNl9"
        "afoEZRBzBThjLckzvpFMky+VLNYlgsSn1F5jcoakFj/CpBRy9uk66MvwL3f+M3OT/ucI56zGvxp7HSZR9gDdFCbDqL"
        "tffW8N0gsh7X4oN+f7FmhbvxMHo7ZAPdXr+zF8Wv9gdRiMObW0dbaHs5aW8FB73+sBfvPxoeDPqRNcZlCTJrGtuN2f"
        "+L/qOpuju9cDix7eaWdRUFBuEWxmBnd+9Ne68D12kb67b9EMTtc1IYP4kgRzde2I44ezWZKwPzXUnrATMuzt4hWqxj"
        "Qr9SXr8gPrFaPmTnoypPfXo+RF0m1LL74WbuqFJen6XxKyevyewczYg7C19+4POj8JXm51GTWJb6WUZPi9J3IO/LxK"
        "aRb1lda4yf13qd+MRcLPuprUExKDC7zEah+2eaDpNO9TQdgk9lfAWCIs/ZLNaHTvEZ8VaZfyIznDfTqFyhUdhxzgpF"
        "KWMUbybj0yfywPmEzguWh4XU/5m0VoSWSl6FBq0xyE5juS4wXlEPZanQkPWA7W4jr4EFeD5W13NY53X8zizid6whV/"
        "iwgnW5hivH7+HJ2P4JKstz+p0Y08P8M+lGNHL/eLyAxSnjtuF/2vGTv+EXX3QDdw=="
    )
)
