"""The front of accuracy against latency, size, memory and energy, over a recipe's `[search]`."""
