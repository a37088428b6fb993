"""Models beyond the starter: which there are, which fit this machine, where they lie, how far one is from ready."""
