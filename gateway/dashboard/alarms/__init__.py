"""The past of alarms: statistics, notes of operators, and events out of the stores."""
