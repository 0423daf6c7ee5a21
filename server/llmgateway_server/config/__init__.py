"""The settings of the whole gateway, composed from each room's own, and how they are read."""
