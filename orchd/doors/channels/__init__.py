"""The door to channels: segments of media and events, written and read by HTTP."""
