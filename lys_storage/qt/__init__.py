"""What needs Qt: `DataStorage`, its finalizer, the panel. The only place that imports qtpy or lys."""
