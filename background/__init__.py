"""Members of the farm that run on this machine without a window: a node, a coordinator.

Started, found again and stopped by the command line and by the add-on alike.
"""
