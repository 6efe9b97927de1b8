"""One stage's training: its loop, its steps, where it can be taken up again, what it leaves."""
