"""Footfall: user events of a marketplace, sent, checked and durable."""
