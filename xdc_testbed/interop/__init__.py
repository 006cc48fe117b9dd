"""Interoperability suites: which product pairs, protocols and credentials work, as one machine-readable
matrix.

    endpoints.json ─▶ matrix (pure) ─▶ runner ─▶ CaseRecord ─▶ deviations (pure) ─▶ report

The suites know endpoints and clients only, so that they run the same against a testbed and against existing
sites.
"""
