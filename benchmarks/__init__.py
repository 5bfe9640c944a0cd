"""Benchmarks; their last figures are in README.md beside this file."""
