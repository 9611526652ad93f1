"""The listener for payers: TLS, whose address is believed, how often anybody may ask, and the doors that it carries."""
