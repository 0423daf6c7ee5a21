"""The request ring: stages around a call, once each, on the decoded request.

Its innermost step is `routing.failover`.
"""
