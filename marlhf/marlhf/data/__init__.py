"""The offline data set: files of play, mixes of them, trajectories, and preferences between trajectories."""
