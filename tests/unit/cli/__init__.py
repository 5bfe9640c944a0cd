"""Tests of what the command line decides without doing anything."""
