"""Films of single episodes: playing one with trained agents, and drawing it."""
