"""LOQA in the iterated prisoner's dilemma (paper, section on the IPD; spec 3.1)."""
