"""Learning from labelled data alone: VDN, MAIQL and MABCQ, one skeleton and three named differences."""
