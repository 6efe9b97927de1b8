"""What networks feel: places where it is read, its shapes, and networks that exchange it."""
