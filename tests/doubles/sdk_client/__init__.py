"""A client that behaves as the official Python SDK (`livepeer-gateway` 1.0.0) does with receivers and signers.

`SdkClient` is what tests use; see `../README.md`.
"""
