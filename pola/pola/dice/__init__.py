"""Sampled games of POLA: LOLA-DiCE, POLA-DiCE and POLA-OM with recurrent policies, in pure JAX."""
