"""The coordinator's HTTP interface: bytes <-> protocol <-> farm.

Handlers decode, check, call and answer; one file per theme. What they share: `problems` (every
error is problem+json), `guard` (who may call what, and from where), `bodies` (bounded reading).
"""
