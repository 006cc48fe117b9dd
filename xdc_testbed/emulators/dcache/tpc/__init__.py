"""Third-party copies by HTTP: the pool as the client of another storage."""
