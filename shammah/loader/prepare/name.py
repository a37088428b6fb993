"""What a prepared folder is called; imports nothing, since every start of the loader asks for it."""

RECIPE = 3
"""Raised whenever the same download would be prepared to something else: what was prepared before is made anew."""


def prepared_name(digest: str) -> str:
    """The name of the folder for a download, by the digest of all its files."""
    return f"prepared-{digest[:12]}-r{RECIPE}"
