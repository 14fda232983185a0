"""Hostile inputs to every command, each in a process with limits: what comes out must be a result or one clear line."""
