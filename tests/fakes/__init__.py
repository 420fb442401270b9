"""Devices and services that answer as a test asks, well or badly."""
