"""Many nodes in one process, in virtual time."""
