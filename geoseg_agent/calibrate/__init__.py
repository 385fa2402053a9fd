"""Calibration of the margins (Eq. 2) from boxes that a model said and the true ones, after a test of their frame.

`geoseg_agent.calibrate.run.calibrate` is the whole of it. No query imports anything from here.
"""
