"""What tells people about a calibration: the page of a run, its pictures, texts of outcomes.

Nothing in here can change a corrected file, so none of it counts in `manifest.code_version`.
"""
