"""The door of containers: what they do for their sessions, and the proxies that they have made."""
