"""Keras models: what their configuration would make, judged without Keras."""
