"""Films of single episodes of the Coin Game: playing one with trained agents, and drawing it."""
