"""Every experiment of the paper by name, and what may be changed about it."""
