"""Pictures: reading them from files, and making a network's input of them."""
