"""The real parts as plain processes, and what the tests need to drive and judge them."""
