"""A scenario run again and again with its parameters varied: what a researcher asks of a network."""
