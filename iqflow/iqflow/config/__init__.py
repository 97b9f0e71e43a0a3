"""The eleven configurations by their original names, and the frozen dataclasses that they fill."""
