"""Bringing agents to hosts: archives that run where there is nothing but Python."""
