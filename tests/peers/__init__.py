"""Other implementations that Lineside is tested against."""
