"""How the starter model is made: text, network, training and export (needs the `train` extra)."""
