"""Stands for a package of the user's own, whose functions a policy may call."""
