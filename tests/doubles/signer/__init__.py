"""Stand-ins for the remote signers that the Live Runner's clients pay with: go-livepeer's and Livepeer Node's.

`RemoteSigner` is what tests use; see `../README.md`.
"""
