"""The soak: files go in all the time while faults come and go by plan; every file has to end, once, whatever happens.

`plan` says which fault comes when; `stream` runs on the client node, writes files and tells what becomes of them;
`drive` makes the faults; `ledger` counts; `report` shows.
"""
