"""Exact games of POLA: LOLA and outer POLA with memory-one policies and closed-form values, in PyTorch."""
