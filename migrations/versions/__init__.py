"""One file a version; one that has landed is never edited."""
