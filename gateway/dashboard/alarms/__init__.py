"""Alarms beyond the standing ones: their statistics, what operators noted on the page, and those of the stores."""
