"""The one door to py-libp2p and multiaddr."""
