"""Processes that write, resume or recover scans, and are killed.

steps: kills a process at one of its durable steps; child: the process that is killed; life: one scan through its kills.
"""
