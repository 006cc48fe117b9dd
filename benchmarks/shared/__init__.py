"""What several benchmarks need: how a figure is printed, and services to measure."""
