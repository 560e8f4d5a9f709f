"""How a member of the farm reaches its coordinator: find it, be let in, talk, move bytes.

Used by add-on, node and commands. Imports `protocol` and nothing else of ours. Everything that
waits is a coroutine and may be cancelled at any time.
"""
