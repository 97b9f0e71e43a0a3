"""The Coin Game with three players: an extra of the original's code that is not part of the paper's results."""
