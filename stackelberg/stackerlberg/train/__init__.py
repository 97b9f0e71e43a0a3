"""The paper's script."""
