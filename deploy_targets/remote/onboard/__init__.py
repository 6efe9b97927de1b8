"""What is sent over the link and runs on the device: Python's standard library alone.

`session` sends these modules before anything of ours is there, each after those that it imports:
see `SENT`. `agent` looks after our folder, `environments` makes what a runtime needs.
"""

SENT = ("refusals", "environments", "agent")
