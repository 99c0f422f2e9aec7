"""The bytes of an artifact: read once into private memory, bounded. Knows neither pickle nor envelopes."""
