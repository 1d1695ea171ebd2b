"""Limits of what nodes say to each other; one place, so that both ends agree.

Source: PROTOCOL section 13.
"""

from typing import Final

GOSSIP_SIZE_MAX: Final = 256 << 10
"""Bytes of one gossip message; anything larger moves by content id."""

BODY_SIZE_MAX: Final = GOSSIP_SIZE_MAX - 512
"""Bytes of what a gossip message says; its envelope takes the rest."""

QUESTION_SIZE_MAX: Final = 1 << 20
"""Bytes of one question to a remote; a question names things, it doesn't carry them."""

ANSWER_SIZE_MAX: Final = 2 << 20
"""Bytes of one answer: a chunk of a blob, or a batch of blocks in sync."""

BLOB_CHUNKS_MAX: Final = 4096
"""Chunks of one blob, 4 GiB at most; its manifest then takes 128 KiB."""

QUESTIONS_IN_FLIGHT_MAX: Final = 32
"""Unanswered questions that one remote may have with us; more are answered "busy"."""
