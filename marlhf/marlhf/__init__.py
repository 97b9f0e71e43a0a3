"""Multi-agent reinforcement learning from human feedback: data, reward models and offline learners (arXiv 2409.00717)."""
