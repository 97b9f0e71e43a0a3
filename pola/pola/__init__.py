"""POLA: Proximal Learning With Opponent-Learning Awareness (Zhao, Lu, Grosse, Foerster; NeurIPS 2022)."""
