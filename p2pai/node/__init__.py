"""The heart: events in, effects out."""
