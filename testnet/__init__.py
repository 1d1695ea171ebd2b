"""Networks to try things on: real processes on one machine."""
