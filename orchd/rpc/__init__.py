"""Ethereum JSON-RPC servers: several of them, asked in order. Off unless a file with their URLs is named and used."""
