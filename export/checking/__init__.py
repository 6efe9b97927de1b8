"""Does a written model say what the original says, and what does it lose?"""
