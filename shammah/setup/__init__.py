"""The set-up: what this machine can run, at most four questions, and what the answers change in config.toml."""
