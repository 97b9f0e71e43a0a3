"""IQ-Flow: mechanism design for self-interested agents in sequential social dilemmas, reproduced."""
