"""Training: one compiled program per combination of algorithm and experiment, and the scripts that launch it."""
