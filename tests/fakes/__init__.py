"""Devices and services that answer as a test tells them to, well or badly."""
