"""Verifiable draws: who is chosen, and how anybody can check it."""
