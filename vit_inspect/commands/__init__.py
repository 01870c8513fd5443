"""What can be done from the command line? One file for each command, and what they share."""
