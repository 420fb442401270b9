"""What the page knows of the plants: the newest readings, states, reports and events, as the broker delivers them."""
