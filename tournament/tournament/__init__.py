"""The papers' trained learners against each other and against the classic strategies."""
