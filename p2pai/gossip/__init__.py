"""What nodes say to each other: topics, envelopes, verdicts; pure except for libp2p/."""
