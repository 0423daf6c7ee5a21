"""Fakes that ship with the gateway, for its users' tests and for its own.

An in-process gateway, a manual clock, a scripted provider.
"""
