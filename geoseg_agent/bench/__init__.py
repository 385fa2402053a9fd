"""The reproduction kit: data sets, metrics, runs, ablations, a judge and calibration.

Nothing here is imported by a query; the commands `geoseg bench` and `geoseg calibrate` import it when they are used.
"""
