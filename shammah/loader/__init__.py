"""The loader: a process of its own that fetches a model and prepares it for this machine, then ends."""
