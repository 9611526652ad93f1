"""The node program beside orchd: how it is asked and trusted, and the watch for its restarts. It knows no registry."""
