"""The node program beside us: how it is asked. It knows no registry."""
