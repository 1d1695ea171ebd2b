"""p2pai: a peer-to-peer network whose proof of work trains neural networks."""

__version__ = "0.1.0"
