"""Provision a data-management testbed, run an event-driven calibration on it, tear it down to nothing."""

from __future__ import annotations

__version__ = "0.1.0"
