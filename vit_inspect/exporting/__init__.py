"""How do figures leave the program? One as a file, or all as a folder with a report."""
