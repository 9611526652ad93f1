"""The validation core of paid jobs: from the bytes of headers to a payment that is taken whole, or refused whole.

All of it is functions of values, without a clock, a store or a socket: what is kept is the ledger's business, what the
chain says that of its port.
"""
