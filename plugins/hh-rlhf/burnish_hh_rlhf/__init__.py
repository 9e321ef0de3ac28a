"""Transcripts of a human and an assistant that part at the end: the form of HH-RLHF."""
