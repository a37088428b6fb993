"""Claude: asked over the network, where the person allows it."""
