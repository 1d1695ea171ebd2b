"""Building blocks without knowledge of the protocol: hashes, keys, signatures, encodings."""
