"""Containers: detect by content, split into streams and buffers."""
