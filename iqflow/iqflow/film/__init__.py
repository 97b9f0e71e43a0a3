"""Films of single episodes of Cleanup: playing one, and drawing it with the incentives that were paid."""
