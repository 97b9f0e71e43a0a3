"""Films of single episodes of Cleanup and of episodes of Escape Room, with the incentives that were paid."""
