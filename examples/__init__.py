"""Example call recordings, and how they are made."""
