"""The Coin Game: rules, recurrent agents, scripted players, and LOQA's training on it."""
