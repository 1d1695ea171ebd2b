"""The faults of a scenario, done to a simulated world: each a chain of events of the world itself.

A fault begins and ends at times of the scenario; what it does in between, and to whom, comes from dice of its
own, split off from the world's seed by its kind, so that leaving one fault out changes little for the others.
`World.fired` counts, by kind, what really happened.
"""

from testnet.simulator.faulting.schedule import Faulting

__all__ = ["Faulting"]
