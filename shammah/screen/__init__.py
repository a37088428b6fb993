"""What a person sees and types: text made safe, Markdown drawn, the line that is read."""
