"""The Coin Game league: agents of several algorithms and scripted players, every pair of them, and what they earn."""
