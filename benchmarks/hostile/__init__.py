"""Hostile inputs to every command, in a process with limits: the outcome must be a result or one clear line."""
