"""Plain data on its way through the wall: written on one side, read on the other as if by an enemy."""
