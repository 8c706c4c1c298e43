"""From the storage to tables, progress and the tracker."""
