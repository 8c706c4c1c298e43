"""Storages in object stores: an address, what a bucket does, and its mirror on the local disk."""
