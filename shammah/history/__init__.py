"""Past conversations: kept, searched and exported."""
