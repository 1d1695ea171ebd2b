"""What a node does for its tickets: sans-IO state machines, strangers to each other."""
