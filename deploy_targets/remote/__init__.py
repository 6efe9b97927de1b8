"""Devices behind an SSH link: reaching them, and what has to lie on them before they can measure.

`address` reads a URL, `link` calls the system's ssh, `onboard` is the program that looks after our
folder over there, `session` talks to it, `provisioning` sets a device up and clears it, `checking`
looks at it.
"""
