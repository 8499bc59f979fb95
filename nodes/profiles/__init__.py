"""How fast another machine is, and holding this one's answers to its pace."""
