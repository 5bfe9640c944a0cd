"""Recordings that are wrong in every way that a seed can think of."""
