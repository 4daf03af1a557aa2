"""Robot data: LeRobot, HDF5 and zarr read and written, windows gathered from mapped columns."""
