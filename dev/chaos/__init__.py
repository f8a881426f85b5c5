"""Kills what can be killed, under load, and looks whether the trail has everything once."""
