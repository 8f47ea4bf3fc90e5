"""Readers and writers: one small file per format, chosen by content first and by suffix second."""
