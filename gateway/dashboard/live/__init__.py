"""The plants as the page knows them: the newest readings, states, reports and events, as the broker delivers them."""
