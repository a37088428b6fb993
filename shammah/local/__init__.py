"""The model worker as the chat process sees it."""
