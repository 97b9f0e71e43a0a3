"""The RLlib engine: the paper's training on Ray 2.60's new API stack, in one process, with Tune, or on a cluster."""
