"""What is done with a trained mechanism: load it, evaluate it, tabulate and plot it."""
