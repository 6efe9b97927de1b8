"""What people see, on the terminal and on pages alike."""
