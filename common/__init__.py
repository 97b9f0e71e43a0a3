"""What the five papers share: payoffs of the matrix games, and what a figure needs (runs, statistics, plots, verdicts)."""
