"""Kills processes that write, resume or recover scans.

steps: kills a process at one of its durable steps; child: the process that is killed; life: one scan; lives: runs a scan
through its kills.
"""
