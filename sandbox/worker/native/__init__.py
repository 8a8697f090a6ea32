"""What is written in C, how it is loaded, and the state that C and Python share."""
