"""Where storage events come from: one module per product, each turning its notifications into
StorageEvents.
"""
