"""Events and alarms (Part 5, Part 9)."""
