"""What runs in the jail: the warm interpreter, and what its forks do with a job."""
