"""shammah: a private chat in the terminal that runs language models on this machine."""

__version__ = "0.1.0"
