"""Who may ask, from where, and how often. Knows neither Socket.IO nor what is asked for."""
