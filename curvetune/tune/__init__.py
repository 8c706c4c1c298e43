"""Plan, order and Ray Tune. Import the modules; nothing is imported here, so planning is light."""
