"""What the farm knows and decides: a pure state machine. `farm.Farm` is the way in."""
