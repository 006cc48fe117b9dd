"""The WebDAV door: names, permissions, redirects to the pool, listings, third-party copy and macaroon requests."""
