"""Robot data: LeRobotDataset v3.0 read and written, windows gathered from mapped columns."""
