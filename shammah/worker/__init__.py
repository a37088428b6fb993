"""The process that loads and runs a model; never imported by the chat process."""
