"""Where a call goes: the catalogue, the plan, and the one loop that tries targets."""
