"""LOQA: Learning with Opponent Q-Learning Awareness, reproduced."""
