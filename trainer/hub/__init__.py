"""Datasets and models of runs for the Hugging Face Hub: what a folder holds, its card, and the upload."""
