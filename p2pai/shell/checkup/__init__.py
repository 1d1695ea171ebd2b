"""What `p2pai doctor` looks at: each check is a function that returns a `Finding`, and changes nothing."""
