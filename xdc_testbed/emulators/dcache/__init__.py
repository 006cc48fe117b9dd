"""An emulator of dCache 11.2.5 for machines on which the product cannot be had: faithful on the wire, small, labelled.

It serves a WebDAV door that redirects to a pool port, the frontend's REST interface, and sends storage events to Kafka.
Configuration: config.py. What it copies of the product's known bugs: oddities.py.
"""
