"""OpenWhisk actions of the pipeline, thin: take a storage event, use a client and the calibration, answer
with facts.

    calibrate   raw file on a storage → corrected file and manifest on the same storage
    transfer    file on a storage → the same file on another, by third-party copy
    noop        nothing; for measuring

Each is safe to run again with the same work: it finds what is done, and a file appears under its final name
only when it is complete and checked. Run any of them with `main(arguments) -> result`, both JSON objects.
"""
