"""N real nodes on loopback: launching them, and the demonstration that runs on them."""
