"""The built-in provider: deterministic, scriptable, without a network. Users test their own services with it.

So do our tests.
"""
