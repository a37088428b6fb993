"""Servers on loopback that speak as the real ones do, and go wrong on demand."""
