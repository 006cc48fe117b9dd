"""An emulator of Apache OpenWhisk: REST controller, invoker, and the action proxy of the runtime contract.

It is here because no package registry carries a runnable OpenWhisk. It answers like the standalone product
of 2026-08 (status, texts, records), runs Python actions in processes instead of containers, and says that
it is an emulator. Not emulated: web actions, API gateway, Kafka feed, other languages than Python, log
forwarding.

    app, web, about                            ASGI: authentication, routing, headers, request and answer
    actions, packages, triggers, activations   one REST collection each
    names, entities, catalogue, store          what is stored, under which name, and how it survives a kill
    resolve, lives, responses, records, throttle   the life of one activation
    balancer, remote, wire, node               which invoker runs it; invokers on other nodes
    invoker, jobs                              one job in a container of this node
    pool, containers, trees, logs              action proxies: which, how started, what they print
    proxy, launcher                            run inside a "container"; standard library only
"""
