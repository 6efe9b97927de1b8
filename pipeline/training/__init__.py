"""From a dataset to a student: prepare, teach, distil, or adopt one from elsewhere."""
