"""What the program leaves to the shell that ran it."""

DONE, FAILED, WRONG_USAGE, INTERRUPTED = 0, 1, 2, 130
