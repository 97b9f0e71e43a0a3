"""Learning rules as pure functions: followers, IQ-Flow, Incentive Designer, replay (spec section 5)."""
