"""A gateway's job -> a runner's answer.

server, caller (edges: HTTP with callers) -> handle (every decision), with request, body and hooks -> relay (both ways
at once) -> forward (edge: HTTP with runners), answer. `ports` is what the middle knows of the edges.
"""
