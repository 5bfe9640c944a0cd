"""What happens to an event: intake, cleaning, relay; the ports they need; pure decisions.

An event's path, top to bottom: ``intake.py`` -> ``cleaning.py`` -> ``relay.py``. No driver is imported here: adapters
come in through the protocols of ``ports.py``.
"""
