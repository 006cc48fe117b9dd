"""The cases, one module per subject. Their first docstring line is what the report shows as the question."""
