"""A gateway's job -> a runner's answer, over `orchd.http1`.

server, listen (edges: who connects) -> caller (edge: one connection, its requests in order) -> handle, run (every
decision), with request, body and hooks -> transfer (edge: the bytes, both ways; splice: in the kernel) -> runner (edge:
connections to runners). `ports` is what the middle knows of the edges; docs/data-plane.md tells why it is so.
"""
