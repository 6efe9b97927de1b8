"""Asking the teacher: live, or what it said before, kept on disk."""
