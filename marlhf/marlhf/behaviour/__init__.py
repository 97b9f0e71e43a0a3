"""Agents whose play makes the data: graded VDN learners, Tag's prey, Overcooked's cooks."""
