"""The event pipeline: storage notification -> StorageEvent -> Kafka -> router -> work item -> dispatcher ->
action.

model: what travels; sources: products' notifications; rules, router: what is to be done; dispatcher: doing
it, with targets as function platforms; dead_letters: what could not be done. Services run as `python -m
xdc_testbed.events.x`.
"""
