"""Exact arithmetic: every rounding explicit, so the bits are the same on any hardware."""
