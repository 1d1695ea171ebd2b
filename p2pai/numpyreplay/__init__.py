"""A second replayer, in NumPy, written from docs/EXACT.md alone.

It shares no arithmetic with the JAX path: where both give the same bits, the specification is what both of
them say, and neither an author's slip nor a compiler's. Between operations values are float32 arrays;
inside of an operation they are 64-bit integers, and where that is simpler, Python's.

Source: docs/EXACT.md.
"""
