"""What runs in the jail: the zygote, its children, and the snapshot process."""
