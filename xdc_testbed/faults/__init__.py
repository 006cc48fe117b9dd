"""Wanted faults on nodes: delay, partition, stopped and killed services, full disks, a wrong clock; listed and undone.

`commands` turns what a user asks for into orders for nodes; the agent (`python -m xdc_testbed.faults`)
carries them out on the node as root. It needs nothing but the node itself: the same for containers,
instances, machines.
"""
