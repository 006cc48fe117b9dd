"""The pool: the bytes of files, and the movers that carry them to and from clients."""
