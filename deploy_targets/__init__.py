"""Runs a bundle on a device and measures it.

`targets` describes device classes, `hosts` reaches machines, `device` is what runs
there (Python, numpy and one runtime, no more), and `measuring` puts them together.
This file imports nothing, because the device side passes through it.
"""
