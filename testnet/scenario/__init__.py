"""What shall happen to a network, as a file: the same for simulated nodes and for real processes."""
